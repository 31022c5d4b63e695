package main

import "testing"

// TestBurst wants memory returned once for each burst, after its end.
func TestBurst(t *testing.T) {
	var s burst
	for i, look := range []struct {
		handshakes uint64
		want       bool
	}{
		{0, false},
		{50, false},                  // too few for a burst
		{1050, false}, {3050, false}, // one comes
		{3060, true}, {3070, false},
		{3170, false}, {3170, true}, {3170, false},
	} {
		if got := s.step(look.handshakes); got != look.want {
			t.Errorf("look %d, %d handshakes: %v", i, look.handshakes, got)
		}
	}
}
