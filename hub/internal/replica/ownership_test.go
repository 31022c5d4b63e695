package replica

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDecide(t *testing.T) {
	type step struct {
		Request Request
		now     uint64
		leave   uint64 // an epoch that ends before the claim
		Verdict Verdict
		epoch   uint64
	}
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"free", []step{{Request{Instance: "a", Dial: 1}, 10, 0, ClaimFree, 10}}},
		{"the same program again", []step{
			{Request{Instance: "a", Dial: 1}, 10, 0, ClaimFree, 10}, {Request{Instance: "a", Dial: 2}, 20, 0, ClaimReplaces, 20},
		}},
		{"a late connection of the same program", []step{
			{Request{Instance: "a", Dial: 2}, 10, 0, ClaimFree, 10}, {Request{Instance: "a", Dial: 1}, 20, 0, ClaimStale, 10}, {Request{Instance: "a", Dial: 2}, 30, 0, ClaimStale, 10},
		}},
		{"another program, and the first out", []step{
			{Request{Instance: "a", Dial: 1}, 10, 0, ClaimFree, 10}, {Request{Instance: "b", Dial: 1}, 20, 0, ClaimFences, 20},
			{Request{Instance: "a", Dial: 2}, 30, 0, ClaimFenced, 20}, {Request{Instance: "a", Dial: 3}, 40, 20, ClaimFenced, 20}, {Request{Instance: "b", Dial: 2}, 50, 0, ClaimFree, 50},
		}},
		{"after the end of the session the next is free", []step{
			{Request{Instance: "a", Dial: 1}, 10, 0, ClaimFree, 10}, {Request{Instance: "b", Dial: 1}, 20, 10, ClaimFree, 20},
		}},
		{"a late end of an older session", []step{
			{Request{Instance: "a", Dial: 1}, 10, 0, ClaimFree, 10}, {Request{Instance: "a", Dial: 2}, 20, 0, ClaimReplaces, 20}, {Request{Instance: "a", Dial: 3}, 30, 10, ClaimReplaces, 30},
		}},
		{"a clock that stands still or goes back", []step{
			{Request{Instance: "a", Dial: 1}, 10, 0, ClaimFree, 10}, {Request{Instance: "a", Dial: 2}, 10, 0, ClaimReplaces, 11}, {Request{Instance: "a", Dial: 3}, 5, 0, ClaimReplaces, 12},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s Claim
			for i, st := range tt.steps {
				if st.leave > 0 {
					s = EndSession(s, st.leave, st.now)
				}
				next, v := Decide(s, st.Request, Rules{Now: st.now, ReleaseAfter: time.Minute})
				if v != st.Verdict || next.Epoch != st.epoch {
					t.Fatalf("step %d: verdict %d, epoch %d", i, v, next.Epoch)
				}
				s = next
			}
		})
	}
	var s Claim
	for i := range 3 * maxFenced {
		s, _ = Decide(s, Request{Instance: strings.Repeat("x", i+1), Dial: 1}, Rules{Now: uint64(i), ReleaseAfter: time.Minute})
	}
	if len(s.Fenced) != maxFenced {
		t.Errorf("%d fenced instances are remembered", len(s.Fenced))
	}
}

// TestReturnOfFenced: a fenced instance asks for the node.
func TestReturnOfFenced(t *testing.T) {
	const minute = uint64(60_000_000)
	f := func(now uint64) Rules { return Rules{Now: now, ReleaseAfter: 5 * time.Minute} }
	ask := Request{Instance: "a", Dial: 9, Yield: true}
	had := Claim{Epoch: 10 * minute, Instance: "b", Dial: 1, Fenced: []string{"x", "a"}}
	left := EndSession(had, had.Epoch, 20*minute)
	for name, tt := range map[string]struct {
		claim   Claim
		Request Request
		now     uint64
		want    Verdict
		after   time.Duration // when refused
	}{
		"the other has a session":                        {had, ask, 90 * minute, ClaimFenced, 5 * time.Minute},
		"the other has just left":                        {left, ask, 20 * minute, ClaimFenced, 5 * time.Minute},
		"the other left a while ago":                     {left, ask, 23 * minute, ClaimFenced, 2 * time.Minute},
		"the other is gone":                              {left, ask, 25 * minute, ClaimFree, 0},
		"the other is gone, and it forgot":               {left, Request{Instance: "a", Dial: 9}, 25 * minute, ClaimFree, 0},
		"it forgot while the other has a session":        {had, Request{Instance: "a", Dial: 9}, 90 * minute, ClaimFenced, 5 * time.Minute},
		"the server forgot while the other has one":      {Claim{Epoch: 7, Instance: "b"}, ask, 90 * minute, ClaimFenced, 5 * time.Minute},
		"nothing is known of the node":                   {Claim{}, ask, 90 * minute, ClaimFree, 0},
		"a server that began a minute ago":               {Claim{EndedAt: 89 * minute}, ask, 90 * minute, ClaimFenced, 4 * time.Minute},
		"it had the answer lost when it was let in":      {Claim{Epoch: 10 * minute, Instance: "a", Dial: 8}, ask, 90 * minute, ClaimReplaces, 0},
		"what is known of the end is of before":          {Claim{Epoch: 10 * minute, EndedAt: 9 * minute, Instance: "b"}, ask, 90 * minute, ClaimFenced, 5 * time.Minute},
		"a clock that was set back":                      {left, ask, 19 * minute, ClaimFenced, 5 * time.Minute},
		"another instance does not wait for who is gone": {left, Request{Instance: "c", Dial: 1}, 20 * minute, ClaimFree, 0},
	} {
		t.Run(name, func(t *testing.T) {
			next, v := Decide(tt.claim, tt.Request, f(tt.now))
			if v != tt.want {
				t.Fatalf("verdict %d, want %d", v, tt.want)
			}
			if v == ClaimFenced {
				if after := HeldFor(tt.claim, tt.Request, f(tt.now)); after != tt.after || !reflect.DeepEqual(next, tt.claim) {
					t.Errorf("it may ask after %v, want %v; the claim is %+v", after, tt.after, next)
				}
				return
			}
			if next.Instance != tt.Request.Instance || next.EndedAt != 0 || WasFenced(next, Request{Instance: tt.Request.Instance}) || next.Epoch <= tt.claim.Epoch {
				t.Errorf("it holds %+v", next)
			}
			if other := tt.claim.Instance; other != "" && other != tt.Request.Instance && !WasFenced(next, Request{Instance: other}) {
				t.Errorf("the instance before could take it back: %+v", next)
			}
		})
	}
}

// TestNoPingPong runs two programs with one identity, whose links come and go at random:
// a fenced program never ends a session, and gets the node only when its holder was away
// for long enough.
func TestNoPingPong(t *testing.T) {
	const second, release = uint64(1_000_000), 5 * time.Minute
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var s Claim
		now := second
		dials, fenced, up := map[string]uint64{}, map[string]bool{}, map[string]bool{}
		holder, changes, awaySince := "", 0, now
		for range 2000 {
			now += uint64(r.IntN(60)) * second
			who := []string{"a", "b"}[r.IntN(2)]
			if r.IntN(10) == 0 && up[who] { // the link goes
				up[who], awaySince = false, now
				s = EndSession(s, s.Epoch, now)
				continue
			}
			if up[who] {
				continue
			}
			dials[who]++
			next, v := Decide(s, Request{Instance: who, Dial: dials[who], Yield: fenced[who]}, Rules{now, release})
			if v == ClaimFenced {
				fenced[who] = true
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
				up[other], fenced[other] = false, true
			}
			s, holder, up[who], fenced[who] = next, who, true, false
		}
	}
}

// TestAdopt: a server adopts the claim that all servers share.
func TestAdopt(t *testing.T) {
	own := Claim{Epoch: 10, Instance: "a", Dial: 3}
	for _, tt := range []struct {
		own, shared Claim
		want        Verdict
	}{
		{Claim{}, Claim{Epoch: 5, Instance: "a"}, ClaimFree},
		{own, Claim{Epoch: 11, Instance: "a", Dial: 4}, ClaimReplaces},
		{own, Claim{Epoch: 11, Instance: "b"}, ClaimFences},
		{own, Claim{Epoch: 10, Instance: "b"}, ClaimStale},
		{EndSession(own, 10, 10), Claim{Epoch: 11, Instance: "b"}, ClaimFree},
		{EndSession(own, 10, 10), Claim{Epoch: 9, Instance: "b"}, ClaimStale},
	} {
		next, v := Adopt(tt.own, tt.shared)
		want := tt.shared
		if tt.want == ClaimStale {
			want = tt.own
		}
		if v != tt.want || fmt.Sprint(next) != fmt.Sprint(want) {
			t.Errorf("%+v takes %+v: verdict %d, %+v", tt.own, tt.shared, v, next)
		}
	}
}
