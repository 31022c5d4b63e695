package replica

import (
	"testing"
	"time"
)

func TestKeepalive(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	for _, tt := range []struct {
		name       string
		pings      bool
		pinged     int
		now, heard int
		ping, dead bool
		next       time.Duration
	}{
		{"edge: nothing is due", true, 0, 10, 5, false, false, 20 * time.Second},
		{"edge: ping", true, 0, 30, 5, true, false, 15 * time.Second},
		{"edge: ping, however much arrives", true, 0, 30, 30, true, false, 15 * time.Second},
		{"edge: waiting for an answer", true, 30, 40, 29, false, false, 5 * time.Second},
		{"edge: answered", true, 30, 45, 31, false, false, 15 * time.Second},
		{"edge: no answer", true, 30, 45, 29, false, true, 0},
		{"cloud: heard of it", false, 0, 30, 29, false, false, 44 * time.Second},
		{"cloud: a ping is late", false, 0, 60, 29, false, false, 14 * time.Second},
		{"cloud: gone", false, 0, 74, 29, false, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := Keepalive{Interval: 30 * time.Second, Pings: tt.pings, Pinged: at(tt.pinged)}
			ping, dead, next := k.Step(at(tt.now), at(tt.heard))
			if ping != tt.ping || dead != tt.dead || next != tt.next {
				t.Errorf("ping %v, dead %v, next %v", ping, dead, next)
			}
		})
	}
}
