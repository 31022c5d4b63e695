package hub

import (
	"errors"
	"math/rand/v2"
	"reflect"
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
		{"free", []step{{claim{Instance: "a", Dial: 1}, 10, 0, seatFree, 10}}},
		{"the same program again", []step{
			{claim{Instance: "a", Dial: 1}, 10, 0, seatFree, 10}, {claim{Instance: "a", Dial: 2}, 20, 0, seatReplace, 20},
		}},
		{"a late connection of the same program", []step{
			{claim{Instance: "a", Dial: 2}, 10, 0, seatFree, 10}, {claim{Instance: "a", Dial: 1}, 20, 0, seatStale, 10}, {claim{Instance: "a", Dial: 2}, 30, 0, seatStale, 10},
		}},
		{"another program, and the first out", []step{
			{claim{Instance: "a", Dial: 1}, 10, 0, seatFree, 10}, {claim{Instance: "b", Dial: 1}, 20, 0, seatFence, 20},
			{claim{Instance: "a", Dial: 2}, 30, 0, seatFenced, 20}, {claim{Instance: "a", Dial: 3}, 40, 20, seatFenced, 20}, {claim{Instance: "b", Dial: 2}, 50, 0, seatFree, 50},
		}},
		{"after the end of the session the next is free", []step{
			{claim{Instance: "a", Dial: 1}, 10, 0, seatFree, 10}, {claim{Instance: "b", Dial: 1}, 20, 10, seatFree, 20},
		}},
		{"a late end of an older session", []step{
			{claim{Instance: "a", Dial: 1}, 10, 0, seatFree, 10}, {claim{Instance: "a", Dial: 2}, 20, 0, seatReplace, 20}, {claim{Instance: "a", Dial: 3}, 30, 10, seatReplace, 30},
		}},
		{"a clock that stands still or goes back", []step{
			{claim{Instance: "a", Dial: 1}, 10, 0, seatFree, 10}, {claim{Instance: "a", Dial: 2}, 10, 0, seatReplace, 11}, {claim{Instance: "a", Dial: 3}, 5, 0, seatReplace, 12},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Seat
			for i, st := range tt.steps {
				if st.leave > 0 {
					s = s.leave(st.leave, st.now)
				}
				next, v := s.take(st.claim, fencing{now: st.now, release: time.Minute})
				if v != st.verdict || next.Epoch != st.epoch {
					t.Fatalf("step %d: verdict %d, epoch %d", i, v, next.Epoch)
				}
				s = next
			}
		})
	}
	var s Seat
	for i := range 3 * maxFenced {
		s, _ = s.take(claim{Instance: strings.Repeat("x", i+1), Dial: 1}, fencing{now: uint64(i), release: time.Minute})
	}
	if len(s.Fenced) != maxFenced {
		t.Errorf("%d fenced instances are remembered", len(s.Fenced))
	}
}

// TestReturnOfFenced has an instance that was fenced ask for the node.
func TestReturnOfFenced(t *testing.T) {
	const minute = uint64(60_000_000)
	f := func(now uint64) fencing { return fencing{now: now, release: 5 * time.Minute} }
	ask := claim{Instance: "a", Dial: 9, Yield: true}
	had := Seat{Epoch: 10 * minute, Instance: "b", Dial: 1, Fenced: []string{"x", "a"}}
	left := had.leave(had.Epoch, 20*minute)
	for name, tt := range map[string]struct {
		seat  Seat
		claim claim
		now   uint64
		want  verdict
		after time.Duration // when refused
	}{
		"the other has a session":                        {had, ask, 90 * minute, seatFenced, 5 * time.Minute},
		"the other has just left":                        {left, ask, 20 * minute, seatFenced, 5 * time.Minute},
		"the other left a while ago":                     {left, ask, 23 * minute, seatFenced, 2 * time.Minute},
		"the other is gone":                              {left, ask, 25 * minute, seatFree, 0},
		"the other is gone, and it forgot":               {left, claim{Instance: "a", Dial: 9}, 25 * minute, seatFree, 0},
		"it forgot while the other has a session":        {had, claim{Instance: "a", Dial: 9}, 90 * minute, seatFenced, 5 * time.Minute},
		"the server forgot while the other has one":      {Seat{Epoch: 7, Instance: "b"}, ask, 90 * minute, seatFenced, 5 * time.Minute},
		"nothing is known of the node":                   {Seat{}, ask, 90 * minute, seatFree, 0},
		"a server that began a minute ago":               {Seat{Left: 89 * minute}, ask, 90 * minute, seatFenced, 4 * time.Minute},
		"it had the answer lost when it was let in":      {Seat{Epoch: 10 * minute, Instance: "a", Dial: 8}, ask, 90 * minute, seatReplace, 0},
		"what is known of the end is of before":          {Seat{Epoch: 10 * minute, Left: 9 * minute, Instance: "b"}, ask, 90 * minute, seatFenced, 5 * time.Minute},
		"a clock that was set back":                      {left, ask, 19 * minute, seatFenced, 5 * time.Minute},
		"another instance does not wait for who is gone": {left, claim{Instance: "c", Dial: 1}, 20 * minute, seatFree, 0},
	} {
		t.Run(name, func(t *testing.T) {
			next, v := tt.seat.take(tt.claim, f(tt.now))
			if v != tt.want {
				t.Fatalf("verdict %d, want %d", v, tt.want)
			}
			if v == seatFenced {
				if after := tt.seat.heldFor(tt.claim, f(tt.now)); after != tt.after || !reflect.DeepEqual(next, tt.seat) {
					t.Errorf("it may ask after %v, want %v; the seat is %+v", after, tt.after, next)
				}
				return
			}
			if next.Instance != tt.claim.Instance || next.Left != 0 || next.fences(claim{Instance: tt.claim.Instance}) || next.Epoch <= tt.seat.Epoch {
				t.Errorf("it holds %+v", next)
			}
			if other := tt.seat.Instance; other != "" && other != tt.claim.Instance && !next.fences(claim{Instance: other}) {
				t.Errorf("the instance before could take it back: %+v", next)
			}
		})
	}
}

// TestNoPingPong plays two programs with one identity against each other, with
// links that come and go at random: a session that stands is never ended by a
// program that was fenced, and the node changes hands only when its holder was
// away for long enough.
func TestNoPingPong(t *testing.T) {
	const second, release = uint64(1_000_000), 5 * time.Minute
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var s Seat
		now := second
		dials, told, up := map[string]uint64{}, map[string]bool{}, map[string]bool{}
		holder, changes, awaySince := "", 0, now
		for range 2000 {
			now += uint64(r.IntN(60)) * second
			who := []string{"a", "b"}[r.IntN(2)]
			if r.IntN(10) == 0 && up[who] { // the link goes
				up[who], awaySince = false, now
				s = s.leave(s.Epoch, now)
				continue
			}
			if up[who] {
				continue
			}
			dials[who]++
			next, v := s.take(claim{Instance: who, Dial: dials[who], Yield: told[who]}, fencing{now, release})
			if v == seatFenced {
				told[who] = true
				continue
			}
			other := map[string]string{"a": "b", "b": "a"}[who]
			if holder != "" && holder != who {
				changes++
				if up[other] && changes > 1 {
					t.Fatalf("seed %d: %s ended the session of %s", seed, who, other)
				}
				if away := time.Duration(now-awaySince) * time.Microsecond; changes > 1 && away < release {
					t.Fatalf("seed %d: %s took the node %v after %s had gone", seed, who, away, other)
				}
			}
			if up[other] {
				up[other], told[other] = false, true
			}
			s, holder, up[who], told[who] = next, who, true, false
		}
	}
}

func TestProbeAfter(t *testing.T) {
	for name, tt := range map[string]struct {
		told   time.Duration
		news   bool
		chance float64
		want   time.Duration
	}{
		"just told":                  {0, true, 0.9, 0},
		"by a server that is silent": {0, false, 0, probeEvery},
		"with jitter":                {0, false, 0.5, probeEvery + probeEvery/4},
		"when the server said":       {2 * time.Minute, true, 0, 2 * time.Minute},
		"and jitter":                 {2 * time.Minute, false, 0.5, 2*time.Minute + 30*time.Second},
	} {
		if got := probeAfter(tt.told, tt.news, tt.chance); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
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
