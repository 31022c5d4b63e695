package wire

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/bufbuild/protocompile"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/edgekit/edgekit/hub/internal/message"
)

const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// withTrace is a Put whose trace has this text, whatever it is.
func withTrace(texts ...string) []byte {
	m := message.Message{Operation: message.Update, Key: message.Key{Resource: "pods", Name: "a"}, Version: "7", Body: []byte("body")}
	inner := (*wireMessage)(&m).fields(nil)
	put := protowire.AppendBytes(protowire.AppendTag(appendUint(nil, 1, 3), 2, protowire.BytesType), inner)
	for _, text := range texts {
		put = protowire.AppendString(protowire.AppendTag(put, 3, protowire.BytesType), text)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, Put{}.number(), protowire.BytesType), put)
}

// TestTraceOfPeer: what a peer sends as a trace is a traceparent of a sampled span, or it is none; the
// object arrives in either case.
func TestTraceOfPeer(t *testing.T) {
	for name, c := range map[string]struct {
		text, want string
	}{
		"good":           {parent, parent},
		"random flag":    {parent[:54] + "3", parent[:54] + "3"},
		"none":           {"", ""},
		"not sampled":    {parent[:54] + "0", ""},
		"other flags":    {parent[:53] + "f1", ""},
		"other version":  {"01" + parent[2:], ""},
		"longer":         {parent + "-more", ""},
		"upper case":     {strings.ToUpper(parent), ""},
		"zero trace":     {"00-" + strings.Repeat("0", 32) + parent[35:], ""},
		"zero span":      {parent[:36] + strings.Repeat("0", 16) + parent[52:], ""},
		"script":         {"<script>alert(1)</script>" + strings.Repeat("x", 30), ""},
		"terminal":       {"\x1b[2J" + strings.Repeat("\x00", 51), ""},
		"not hex":        {parent[:10] + "g" + parent[11:], ""},
		"a mebibyte":     {strings.Repeat("a", 1<<20), ""},
		"not even UTF-8": {"\xff\xfe" + parent[2:], ""},
	} {
		d := newDecoder(4 << 20)
		f, err := d.Frame(withTrace(c.text))
		put, ok := f.(Put)
		if err != nil || !ok || string(put.Message.Body) != "body" || (put.Trace != nil) != (c.want != "") || put.Trace != nil && *put.Trace != c.want {
			t.Errorf("%s: %+v, %v", name, f, err)
		}
	}
}

// TestAttackTrace: a peer that repeats the field makes the decoder allocate no more than it sent.
func TestAttackTrace(t *testing.T) {
	all := make([]string, 1000)
	for i := range all {
		all[i] = parent
	}
	b := withTrace(all...)
	r := testing.Benchmark(func(bench *testing.B) {
		bench.ReportAllocs()
		for range bench.N {
			d := newDecoder(4 << 20)
			if _, err := d.Frame(b); err != nil {
				bench.Fatal(err)
			}
		}
	})
	if multiple := float64(r.AllocedBytesPerOp()) / float64(len(b)); multiple > 20 {
		t.Errorf("%.1f bytes allocated for each received", multiple)
	}
}

// TestOldReaderSkipsTrace: a program of an earlier release, whose hub.proto has no such field, reads
// the same message without it.
func TestOldReaderSkipsTrace(t *testing.T) {
	now, err := os.ReadFile("../../hub.proto")
	if err != nil {
		t.Fatal(err)
	}
	before := regexp.MustCompile(`(?m)^  string trace = 3;.*$`).ReplaceAll(now, nil)
	c := protocompile.Compiler{Resolver: &protocompile.SourceResolver{Accessor: protocompile.SourceAccessorFromMap(map[string]string{"hub.proto": string(before)})}}
	files, err := c.Compile(t.Context(), "hub.proto")
	if err != nil {
		t.Fatal(err)
	}
	frame := dynamicpb.NewMessage(files[0].Messages().ByName("Frame"))
	if err := proto.Unmarshal(withTrace(parent), frame); err != nil {
		t.Fatal(err)
	}
	put := frame.Get(frame.Descriptor().Fields().ByName("put")).Message()
	m := put.Get(put.Descriptor().Fields().ByName("message")).Message()
	if len(put.GetUnknown()) == 0 || string(m.Get(m.Descriptor().Fields().ByName("body")).Bytes()) != "body" {
		t.Errorf("read %v", m)
	}
}
