package value

import (
	"bytes"
	"math"
	"reflect"
	"runtime"
	"testing"
)

func deep(n int) any {
	var v any = "end"
	for range n {
		v = []any{v}
	}
	return v
}

func TestValues(t *testing.T) {
	for _, v := range []any{
		nil, true, false, int64(-5), int64(math.MinInt64), uint64(math.MaxUint64), 0.1, math.Inf(1), "", "text\x00", []byte{}, []byte{0, 255},
		[]any{}, []any{nil, int64(1), []any{"x"}}, map[string]any{}, map[string]any{"b": 1.5, "a": map[string]any{"": []byte("y")}}, deep(MaxDepth),
	} {
		b, err := Append(nil, v)
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		r := NewReader(b)
		if got := r.Value(); r.Err() != nil || r.Len() > 0 || !reflect.DeepEqual(got, v) {
			t.Errorf("%v became %v, %v, %d bytes left", v, got, r.Err(), r.Len())
		}
		for n := range b { // no beginning of it is a whole value
			r := NewReader(b[:n])
			if r.Value(); r.Err() == nil {
				t.Errorf("%v: the first %d of %d bytes were taken", v, n, len(b))
			}
		}
	}
	for _, v := range []any{deep(MaxDepth + 1), struct{}{}, map[string]any{"a": make(chan int)}, []any{float32(1)}} {
		if _, err := Append(nil, v); err == nil {
			t.Errorf("%T was taken", v)
		}
	}
	for name, b := range map[string][]byte{
		"unknown kind": {99}, "huge list": {kindList, 255, 255, 255, 255, 15}, "huge text": {kindString, 255, 255, 3}, "keys twice": {kindMap, 2, 1, 'a', 0, 1, 'a', 0},
		"keys not sorted": {kindMap, 2, 1, 'b', 0, 1, 'a', 0}, "deep": bytes.Repeat([]byte{kindList, 1}, 1000),
	} {
		r := NewReader(b)
		if r.Value(); r.Err() == nil {
			t.Errorf("%s was taken", name)
		}
	}
}

func FuzzValue(f *testing.F) {
	for _, v := range []any{int64(-5), map[string]any{"b": 1.5, "a": []any{nil, "x", []byte("y"), uint64(1)}}} {
		b, _ := Append(nil, v)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(b)
		v := r.Value()
		if r.Err() != nil {
			return
		}
		again, err := Append(nil, v)
		if err != nil {
			t.Fatalf("%v: %v", v, err)
		}
		second := NewReader(again)
		w := second.Value()
		if third, err := Append(nil, w); second.Err() != nil || err != nil || !bytes.Equal(again, third) { // a NaN does not equal itself
			t.Errorf("%v became %v", v, w)
		}
	})
}

// TestAttackValue holds the decoder to a bound: a megabyte of the smallest elements, which
// cost most for each byte, takes at most 96 bytes for each, with what is
// freed on the way. The bytes come from the node's own store, after a checksum.
func TestAttackValue(t *testing.T) {
	const size = 1 << 20
	list := append([]byte{kindList, 0x80, 0x80, 0x40}, make([]byte, size)...)
	short := []byte{kindMap, 0x80, 0x80, 0x04}
	for i := range 1 << 16 {
		short = append(short, 2, byte(i>>8), byte(i), kindNil)
	}
	nested := bytes.Repeat([]byte{kindList, 1}, 60)
	many := []byte{kindList, 0x80, 0x80, 0x01}
	for range 1 << 14 {
		many = append(many, append(nested, kindNil)...)
	}
	for name, b := range map[string][]byte{"list": list, "map": short, "nested": many} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := NewReader(b)
		v := r.Value()
		runtime.ReadMemStats(&after)
		if r.Err() != nil || v == nil {
			t.Fatalf("%s: %v", name, r.Err())
		}
		got := float64(after.TotalAlloc-before.TotalAlloc) / float64(len(b))
		t.Logf("%s: %.1f bytes for each byte", name, got)
		if got > 96 {
			t.Errorf("%s: %.1f bytes are allocated for each byte", name, got)
		}
	}
}
