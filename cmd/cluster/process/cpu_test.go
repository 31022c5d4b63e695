package process

import (
	"testing"
	"time"
)

func TestCPUTime(t *testing.T) {
	got, err := parseCPUTime([]byte("42 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 12345"))
	if err != nil || got != 3*time.Second {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"", "42 (a) S 1 2", "42 (a) S 1 2 3 4 5 6 7 8 9 10 x 50"} {
		if got, err := parseCPUTime([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
