package queue

import (
	"math/rand/v2"
	"testing"
)

// TestSpans compares a set with a map through random changes.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s spans
	want := make(map[uint64]bool)
	for range 20_000 {
		from := rng.Uint64N(100)
		a := span{from, from + rng.Uint64N(8)}
		add := rng.IntN(2) == 0
		if add {
			s.add(a)
		} else {
			s.remove(a)
		}
		for n := a.from; n < a.to; n++ {
			want[n] = add
		}
		for n := range uint64(110) {
			if s.has(n) != want[n] {
				t.Fatalf("after %v %v: has %d = %v in %v", add, a, n, s.has(n), s)
			}
		}
		for i, e := range s {
			if e.from >= e.to || i > 0 && s[i-1].to >= e.from {
				t.Fatalf("%v is not in order", s)
			}
		}
	}
}

func TestSpansAreBounded(t *testing.T) {
	var s spans
	for n := range uint64(1000) {
		s.add(span{10 * n, 10*n + 1 + n%8})
	}
	s.bound()
	if len(s) != maxSpans {
		t.Errorf("%d spans", len(s))
	}
	for n := range uint64(1000) {
		if !s.has(10 * n) {
			t.Fatalf("%d is lost", 10*n)
		}
	}
}
