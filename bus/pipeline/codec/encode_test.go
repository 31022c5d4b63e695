package codec

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAppendJSON(t *testing.T) {
	for _, v := range []any{
		nil, true, false, int64(-5), uint64(math.MaxUint64), 0.0, 80.5, 1e21, 1e-7, 1.5e-9, 123456789.0, -0.1, "", "plain", "a\"b\\c\n\u2028<é>\xff", []byte{1, 2, 3}, []any{}, map[string]any{},
		[]any{1.0, []any{"x"}, nil}, map[string]any{"b": 1.0, "a": map[string]any{"c": true}, "é": "x"}, time.Date(2026, 11, 30, 1, 2, 3, 4e8, time.UTC),
	} {
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := AppendJSON([]byte("x"), v); err != nil || string(got) != "x"+string(want) {
			t.Errorf("%v: %s, %v; want x%s", v, got, err, want)
		}
	}
	for _, v := range []any{math.NaN(), math.Inf(1), []any{math.Inf(-1)}, struct{}{}, 5, map[string]any{"a": float32(1)}, nestedList(100)} {
		if got, err := AppendJSON(nil, v); err == nil {
			t.Errorf("%v: %s", v, got)
		}
		if got, err := AppendCBOR(nil, v); err == nil && !strings.Contains(string(got), "\xfb") {
			t.Errorf("%v as CBOR: %x", v, got)
		}
	}
	if got, err := AppendCBOR(nil, "\xff"); err == nil {
		t.Errorf("a text that is not UTF-8 as CBOR: %x", got)
	}
	at := time.Date(2026, 11, 30, 1, 2, 3, 0, time.UTC)
	b, err := AppendCBOR(nil, map[string]any{"bb": at, "a": uint64(math.MaxUint64), "c": int64(-300)})
	var c CBOR
	if got, derr := c.Decode(b); err != nil || derr != nil || !reflect.DeepEqual(got, map[string]any{"bb": "2026-11-30T01:02:03Z", "a": uint64(math.MaxUint64), "c": int64(-300)}) {
		t.Errorf("CBOR: %v, %v, %v", got, err, derr)
	}
}

func nestedList(n int) any {
	var v any = []any{}
	for range n {
		v = []any{v}
	}
	return v
}

func BenchmarkAppendJSON(b *testing.B) {
	var j JSON
	v, err := j.Decode(sample)
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.ReportAllocs()
	b.SetBytes(int64(len(sample)))
	for b.Loop() {
		if buf, err = AppendJSON(buf[:0], v); err != nil {
			b.Fatal(err)
		}
	}
}
