package wire_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/hub/decodetest"
)

var full = wire.Message{
	Topic: "plant/ü/1", Payload: []byte("\x00\xff\r\n"), ContentType: "application/cbor", Time: time.UnixMilli(1_760_000_000_123),
	TTL: time.Minute, Method: "PUT", Path: "/a?b=c",
}

func TestMessage(t *testing.T) {
	for _, m := range []wire.Message{{}, {Topic: "a"}, {Payload: []byte{0}}, full} {
		got, err := wire.DecodeMessage(m.Encode())
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v comes back as %+v, %v", m, got, err)
		}
	}
	newer := protowire.AppendVarint(protowire.AppendTag(full.Encode(), 99, protowire.VarintType), 7)
	newer = protowire.AppendString(protowire.AppendTag(newer, 100, protowire.BytesType), "x")
	if got, err := wire.DecodeMessage(newer); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("a newer release's message: %+v, %v", got, err)
	}
}

func TestBadMessages(t *testing.T) {
	text := func(field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, field, protowire.BytesType), s)
	}
	for name, b := range map[string][]byte{
		"cut":               full.Encode()[:5],
		"not UTF-8":         text(1, "\xff"),
		"topic too long":    text(1, strings.Repeat("x", 1<<16)),
		"payload too large": text(2, strings.Repeat("x", wire.MaxPayload+1)),
		"length lies":       append(protowire.AppendTag(nil, 2, protowire.BytesType), 0xff, 0xff, 0xff, 0xff, 0x0f),
		"group":             protowire.AppendTag(nil, 1, protowire.StartGroupType),
		"time":              protowire.AppendVarint(protowire.AppendTag(nil, 4, protowire.VarintType), 1<<60),
	} {
		if m, err := wire.DecodeMessage(b); err == nil {
			t.Errorf("%s is accepted: %+v", name, m)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, target := range []wire.Target{{Topic: "a/b"}, {Port: 80}, {Host: "printer.lan", Port: 65535}} {
		if got, err := wire.DecodeTarget(target.Encode()); err != nil || got != target {
			t.Errorf("%+v comes back as %+v, %v", target, got, err)
		}
	}
	for _, bad := range []string{"", "{}", "[]", `{"topic":"a","port":1}`, `{"topic":"a/+"}`, `{"topic":"$SYS/x"}`, `{"port":-1}`, `{"port":65536}`, `{"port":1,"host":"a/b"}`, `{"port":1,"host":"u@h"}`} {
		if got, err := wire.DecodeTarget([]byte(bad)); err == nil {
			t.Errorf("%s is accepted: %+v", bad, got)
		}
	}
}

func TestSourceFilter(t *testing.T) {
	for topic, want := range map[string]string{
		"a/b": "plant/a/b", "/a/#": "plant/a/#", "+/x": "plant/+/x", "user/x": "plant/user/x",
		"SYS/dis/upload_records": "SYS/dis/upload_records", "$hw/events/upload/#": "$hw/events/upload/#", "$hw/events/device/#": "plant/$hw/events/device/#",
	} {
		if got, err := wire.SourceFilter("plant", topic); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", topic, got, err, want)
		}
	}
	for _, bad := range []string{"", "/", "a/#/b", "a+"} {
		if got, err := wire.SourceFilter("plant", bad); err == nil {
			t.Errorf("%q is accepted as %s", bad, got)
		}
	}
}

func TestProblem(t *testing.T) {
	w := httptest.NewRecorder()
	wire.NewProblem(503, wire.ReasonNodeAway, `node "x" is away`).Write(w)
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || w.Header().Get("Edgekit-Error") != "node-away" || !strings.Contains(w.Body.String(), `"title":"Service Unavailable"`) {
		t.Errorf("%d, %v, %s", w.Code, w.Header(), w.Body)
	}
}

// TestBoundAnswer: an answer of MaxAnswer bytes comes whole, a longer one breaks.
func TestBoundAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		length, size int64 // of the header, and of the body
		refused      bool
		broken       bool
	}{
		"whole":             {length: wire.MaxAnswer, size: wire.MaxAnswer},
		"unknown length":    {length: -1, size: wire.MaxAnswer},
		"says it is longer": {length: wire.MaxAnswer + 1, refused: true},
		"is longer":         {length: -1, size: wire.MaxAnswer + 1, broken: true},
	} {
		resp := &http.Response{ContentLength: c.length, Body: io.NopCloser(io.LimitReader(zeros{}, c.size))}
		err := wire.BoundAnswer(resp)
		if (err != nil) != c.refused {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if (err != nil) != c.broken || n > wire.MaxAnswer {
			t.Errorf("%s: %d bytes, %v", name, n, err)
		}
	}
}

// zeros is a body without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestBoundProblem(t *testing.T) {
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	for name, c := range map[string]struct {
		req    *http.Request
		err    error
		status int // 0 for none
	}{
		"other":      {req, io.ErrUnexpectedEOF, 0},
		"too large":  {req, fmt.Errorf("call: %w", &http.MaxBytesError{Limit: wire.MaxRequest}), 413},
		"deadline":   {req, fmt.Errorf("call: %w", context.DeadlineExceeded), 504},
		"late":       {req.WithContext(late), io.ErrUnexpectedEOF, 504},
		"net's word": {req, &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}, 504},
	} {
		p := wire.BoundProblem(c.req, c.err, "late")
		switch {
		case p == nil && c.status == 0:
		case p == nil || p.Status != c.status || (p.Detail == "late") != (c.status == 504):
			t.Errorf("%s: %+v", name, p)
		}
	}
}

func FuzzDecodeMessage(f *testing.F) {
	f.Add(full.Encode())
	f.Add([]byte{0x0a, 0x01, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := wire.DecodeMessage(b)
		if err != nil {
			return
		}
		again, err := wire.DecodeMessage(m.Encode())
		if err != nil || again.Topic != m.Topic || !bytes.Equal(again.Payload, m.Payload) || again.TTL != m.TTL || again.Path != m.Path {
			t.Errorf("%+v comes back as %+v, %v", m, again, err)
		}
	})
}

func FuzzDecodeTarget(f *testing.F) {
	f.Add([]byte(`{"topic":"a"}`))
	f.Add([]byte(`{"host":"h","port":80}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if target, err := wire.DecodeTarget(b); err == nil && target.Topic == "" && target.Port == 0 {
			t.Errorf("%q is accepted as nothing", b)
		}
	})
}

// TestAttackDecoders searches for the bytes that cost either end of a link most memory.
func TestAttackDecoders(t *testing.T) {
	message := func(b []byte) { _, _ = wire.DecodeMessage(b) }
	decodetest.Search(t,
		decodetest.Case{Name: "rules_message", Decode: message, Units: []string{"\x0a\x00", "\x0a\x01a", "\x12\x00", "\x20\x01", "\x9a\x06\x00"}, Tokens: []string{"\x0a", "\x12", "\x1a", "\x32", "\x3a", "\x00", "\x01", "\x7f"}},
		decodetest.Case{Name: "rules_target", Before: `{"topic":"`, After: `"}`, Units: []string{"a", `\u00e9`, "/"}, Tokens: decodetest.JSONTokens(), Decode: func(b []byte) { _, _ = wire.DecodeTarget(b) },
			Whole: [][]byte{decodetest.Keys("{", `0`, "}")}},
	)
}

func Example() {
	m := wire.Message{Topic: "plant/line/1", Payload: []byte{0, 255}}
	got, err := wire.DecodeMessage(m.Encode())
	fmt.Println(got.Topic, got.Payload, err)
	// Output: plant/line/1 [0 255] <nil>
}

func TestDotParts(t *testing.T) {
	for path, want := range map[string]bool{
		"": false, "/": false, "/a/b.c/..d": false, "/a/%2e%2e/b": true, "/..": true, "a/./b": true, "/a/..%2fb": true, "/a%5c..": true, "/%zz": true,
	} {
		if got := wire.DotParts(path); got != want {
			t.Errorf("%q: %t", path, got)
		}
	}
}
