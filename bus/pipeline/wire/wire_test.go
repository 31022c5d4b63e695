package wire_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// A Report is bounded, and has no control characters.
func Example() {
	r, err := wire.DecodeReport([]byte(`{"uid":"u","state":"Failed","failures":[{"reason":"Sink Failed!","message":"\u001b[31mred"}]}`))
	fmt.Println(r.Failures[0].Reason, r.Failures[0].Message, err)
	// Output: SinkFailed ?[31mred <nil>
}

// TestReport: what a node says is bounded, and no more than text.
func TestReport(t *testing.T) {
	long := &wire.Report{UID: strings.Repeat("u", 1000), State: wire.Running}
	for range 50 {
		long.Failures = append(long.Failures, wire.Failure{Step: strings.Repeat("ä", 100), Reason: strings.Repeat("R", 100), Message: strings.Repeat("ö", 2000), Event: strings.Repeat("\x00", 900), Count: -1, Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)})
	}
	body, err := long.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r, err := wire.DecodeReport(body)
	if err != nil {
		t.Fatal(err)
	}
	f := r.Failures[0]
	if len(r.Failures) != wire.MaxFailures || len(f.Message) > wire.MaxMessage || len(f.Event) > wire.MaxEvent || len(f.Step) > wire.MaxWord || !utf8.ValidString(f.Message) || f.Count != 0 || !f.Time.IsZero() || strings.ContainsRune(f.Event, 0) {
		t.Errorf("%d failures, %+v", len(r.Failures), f)
	}
	for _, bad := range []string{"", "{}", `{"state":"Gone"}`, "[]", `{"state":"Running","failures":{}}`, `{"state":"Running"` + strings.Repeat(" ", 70_000) + "}"} {
		if r, err := wire.DecodeReport([]byte(bad)); err == nil {
			t.Errorf("%.40q is taken as %+v", bad, r)
		}
	}
}

// TestBatch: a Batch survives its way; what is none is refused.
func TestBatch(t *testing.T) {
	b := wire.Batch{Sink: "up", URL: "https://x/y", Encoding: "gzip", Events: 7, Body: []byte("body")}
	got, err := wire.DecodeBatch(b.Encode())
	if err != nil || fmt.Sprint(got) != fmt.Sprint(b) {
		t.Errorf("%+v, %v", got, err)
	}
	for what, bad := range map[string]wire.Batch{
		"no sink": {Events: 1, Body: []byte("x")}, "no events": {Sink: "s", Body: []byte("x")}, "no body": {Sink: "s", Events: 1}, "encoding": {Sink: "s", Events: 1, Encoding: "br", Body: []byte("x")},
		"too many": {Sink: "s", Events: wire.MaxEvents + 1, Body: []byte("x")}, "url": {Sink: "s", Events: 1, URL: strings.Repeat("u", wire.MaxURL+1), Body: []byte("x")},
	} {
		if got, err := wire.DecodeBatch(bad.Encode()); err == nil {
			t.Errorf("%s is taken as %+v", what, got)
		}
	}
}

// TestInputName: names of inputs are read as they were written.
func TestInputName(t *testing.T) {
	if kind, name, ok := wire.ParseInputName(wire.InputName(wire.Secret, "a.b")); kind != wire.Secret || name != "a.b" || !ok {
		t.Error(kind, name, ok)
	}
	for _, bad := range []string{"", "secret", "secret.", "pod.x", ".x"} {
		if _, _, ok := wire.ParseInputName(bad); ok {
			t.Errorf("%q is taken", bad)
		}
	}
	if a, b := wire.SessionID("p/", "n/a/s", "x"), wire.SessionID("p/", "n/a/s", "y"); a == b || !strings.HasPrefix(a, "p/n/a/s/") {
		t.Error(a, b)
	}
}

// TestAttackAllocations: decoders allocate a small multiple of what comes.
func TestAttackAllocations(t *testing.T) {
	report := []byte(`{"state":"Running","failures":[` + strings.Repeat(`{},`, 20_000) + `{}]}`)
	batch := bytes.Repeat([]byte{0x0a, 0x01, 'x'}, 100_000)
	for what, decode := range map[string]func() (int, error){
		"report": func() (int, error) { _, err := wire.DecodeReport(report); return len(report), err },
		"batch":  func() (int, error) { _, err := wire.DecodeBatch(batch); return len(batch), err },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		size, err := decode()
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > uint64(20*size) {
			t.Errorf("%s: %d bytes for %d, %v", what, got, size, err)
		}
	}
}

func FuzzDecodeReport(f *testing.F) {
	f.Add([]byte(`{"uid":"u","state":"Running","failures":[{"reason":"x","message":"y"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := wire.DecodeReport(b)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if r2, err := wire.DecodeReport(again); err != nil || len(r2.Failures) != len(r.Failures) {
			t.Fatalf("%+v is read back as %+v, %v", r, r2, err)
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add((&wire.Batch{Sink: "s", Events: 1, Body: []byte("x")}).Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := wire.DecodeBatch(b)
		if err != nil {
			return
		}
		if again, err := wire.DecodeBatch(got.Encode()); err != nil || !bytes.Equal(again.Body, got.Body) {
			t.Fatalf("%+v, %v", again, err)
		}
	})
}
