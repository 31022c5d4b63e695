package hub

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestSeat(t *testing.T) {
	type step struct {
		claim   claim
		now     uint64
		leave   uint64 // an epoch that ends before the claim
		verdict verdict
		epoch   uint64
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"free", []step{{claim{"a", 1}, 10, 0, seatFree, 10}}},
		{"the same program again", []step{
			{claim{"a", 1}, 10, 0, seatFree, 10}, {claim{"a", 2}, 20, 0, seatReplace, 20},
		}},
		{"a late connection of the same program", []step{
			{claim{"a", 2}, 10, 0, seatFree, 10}, {claim{"a", 1}, 20, 0, seatStale, 10}, {claim{"a", 2}, 30, 0, seatStale, 10},
		}},
		{"another program, and the first for ever out", []step{
			{claim{"a", 1}, 10, 0, seatFree, 10}, {claim{"b", 1}, 20, 0, seatFence, 20},
			{claim{"a", 2}, 30, 0, seatFenced, 20}, {claim{"a", 3}, 40, 20, seatFenced, 20}, {claim{"b", 2}, 50, 0, seatFree, 50},
		}},
		{"after the end of the session the next is free", []step{
			{claim{"a", 1}, 10, 0, seatFree, 10}, {claim{"b", 1}, 20, 10, seatFree, 20},
		}},
		{"a late end of an older session", []step{
			{claim{"a", 1}, 10, 0, seatFree, 10}, {claim{"a", 2}, 20, 0, seatReplace, 20}, {claim{"a", 3}, 30, 10, seatReplace, 30},
		}},
		{"a clock that stands still or goes back", []step{
			{claim{"a", 1}, 10, 0, seatFree, 10}, {claim{"a", 2}, 10, 0, seatReplace, 11}, {claim{"a", 3}, 5, 0, seatReplace, 12},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Seat
			for i, st := range tt.steps {
				if st.leave > 0 {
					s = s.leave(st.leave)
				}
				next, v := s.take(st.claim, st.now)
				if v != st.verdict || next.Epoch != st.epoch {
					t.Fatalf("step %d: verdict %d, epoch %d", i, v, next.Epoch)
				}
				s = next
			}
		})
	}
	var s Seat
	for i := range 3 * maxFenced {
		s, _ = s.take(claim{strings.Repeat("x", i+1), 1}, uint64(i))
	}
	if len(s.Fenced) != maxFenced {
		t.Errorf("%d fenced instances are remembered", len(s.Fenced))
	}
}

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
			k := keepalive{interval: 30 * time.Second, pings: tt.pings, pinged: at(tt.pinged)}
			ping, dead, next := k.step(at(tt.now), at(tt.heard))
			if ping != tt.ping || dead != tt.dead || next != tt.next {
				t.Errorf("ping %v, dead %v, next %v", ping, dead, next)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	b := Backoff{}.withDefaults()
	for _, tt := range []struct {
		attempt   int
		notBefore time.Duration
		chance    float64
		want      time.Duration
	}{
		{0, 0, 0, 0},
		{0, 0, 0.5, 250 * time.Millisecond},
		{3, 0, 0.5, 2 * time.Second},
		{100, 0, 0.5, 15 * time.Second},
		{1 << 30, 0, 1, 30 * time.Second},
		{0, time.Minute, 0.5, time.Minute + 250*time.Millisecond},
	} {
		if got := b.wait(tt.attempt, tt.notBefore, tt.chance); got != tt.want {
			t.Errorf("attempt %d: %v, want %v", tt.attempt, got, tt.want)
		}
	}
}

func TestAgree(t *testing.T) {
	good := hello{Min: 1, Max: 1, Node: "a", Instance: "i", Limits: Limits{}.withDefaults()}
	for _, tt := range []struct {
		name string
		edit func(*hello, *Peer)
		code Code // CodeUnknown for none
	}{
		{"good", func(*hello, *Peer) {}, CodeUnknown},
		{"a newer edge that knows this version", func(h *hello, _ *Peer) { h.Max = 9 }, CodeUnknown},
		{"an edge that is too new", func(h *hello, _ *Peer) { h.Min, h.Max = 2, 9 }, CodeUnsupported},
		{"an edge that is too old", func(h *hello, _ *Peer) { h.Min, h.Max = 0, 0 }, CodeUnsupported},
		{"another name", func(h *hello, _ *Peer) { h.Node = "b" }, CodeForbidden},
		{"no proven name", func(h *hello, p *Peer) { h.Node, p.Name = "", "" }, CodeForbidden},
		{"no instance", func(h *hello, _ *Peer) { h.Instance = "" }, CodeInvalid},
		{"a long instance", func(h *hello, _ *Peer) { h.Instance = strings.Repeat("x", 1000) }, CodeInvalid},
		{"an impossible limit", func(h *hello, _ *Peer) { h.Limits.MaxFrame = 1 }, CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, p := good, Peer{Name: "a"}
			tt.edit(&h, &p)
			version, err := agree(h, p)
			if tt.code == CodeUnknown {
				if err != nil || version != 1 {
					t.Errorf("version %d, %v", version, err)
				}
			} else if !errors.Is(err, &Error{Code: tt.code}) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDigest(t *testing.T) {
	entries := []entry{{Key{"a", "b", "c"}, "1"}, {Key{"a", "", "bc"}, "1"}, {Key{"ab", "", "c"}, "1"}, {Key{"ab", "c", ""}, "2"}}
	var there, back digester
	for i := range entries {
		there.add(entries[i].Key, entries[i].Version)
		e := entries[len(entries)-1-i]
		back.add(e.Key, e.Version)
	}
	if there.digest() != back.digest() {
		t.Error("the order makes a difference")
	}
	seen := map[digestSum]entry{}
	for _, e := range entries {
		var d digester
		d.add(e.Key, e.Version)
		if other, taken := seen[d.digest()]; taken {
			t.Errorf("%v and %v have one digest", e, other)
		}
		seen[d.digest()] = e
	}
	var twice digester
	twice.add(entries[0].Key, "1")
	twice.add(entries[0].Key, "1")
	if twice.digest() == (digestSum{Count: 2}) {
		t.Error("an entry listed twice vanishes")
	}
}
