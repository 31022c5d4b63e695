package main

import "testing"

func TestCalls(t *testing.T) {
	var c calls
	for _, n := range []int{100, 200, 300, 310, 320, 330, 340, 50} { // the last is that of a new process
		c.add(n)
	}
	if got := c.most(); got != 330 {
		t.Errorf("%d calls in the worst minute, want 330; %v", got, c.samples)
	}
	if got := new(calls).most(); got != 0 {
		t.Errorf("%d calls of none", got)
	}
}
