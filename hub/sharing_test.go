package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestAdmission has a herd of 1,000 come at once and return when told: in no
// second are more than 100 let in, and the last is in after about ten.
func TestAdmission(t *testing.T) {
	const nodes, rate = 1000, 100
	gate := newAdmission(rate, 20)
	start := time.Unix(1000, 0)
	due := make([]time.Time, nodes)
	for i := range due {
		due[i] = start
	}
	var in []time.Time
	for len(due) > 0 {
		slices.SortFunc(due, time.Time.Compare)
		now := due[0]
		wait, away := gate.take(now)
		if away > 0 {
			due[0] = now.Add(away)
			continue
		}
		in = append(in, now.Add(wait))
		due = due[1:]
	}
	slices.SortFunc(in, time.Time.Compare)
	for i, at := range in {
		if i >= rate && at.Sub(in[i-rate]) < time.Second {
			t.Fatalf("%d came in within %v", rate+1, at.Sub(in[i-rate]))
		}
	}
	if took := in[len(in)-1].Sub(start); took > 15*time.Second {
		t.Errorf("the last came in after %v", took)
	}
	var open admission
	for range 10_000 {
		if wait, away := open.take(start); wait+away != 0 {
			t.Fatal("without a limit one was sent away")
		}
	}
	one := newAdmission(1, 1)
	for i, want := range []time.Duration{0, time.Second, -1} {
		if wait, away := one.take(start); wait != want && (want >= 0 || away == 0) {
			t.Errorf("one a second: number %d waits %v, or %v", i, wait, away)
		}
	}
}

// TestTurns has one node with a lot to do and two with little: they take
// turns.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &turns{free: 1}
		var busy, calm, quiet turn
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		work := func(name string, who *turn) {
			wg.Go(func() {
				if err := shared.take(t.Context(), who); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				shared.give()
			})
			synctest.Wait()
		}
		for range 4 {
			work("b", &busy)
		}
		work("c", &calm)
		work("q", &quiet)
		work("c", &calm)
		// One that gives up leaves the line.
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if shared.take(ctx, &quiet) == nil {
				t.Error("a place for one that gave up")
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		if got := strings.Join(order, ""); got != "bbcqbcb" {
			t.Errorf("the order was %s", got)
		}
		if shared.free != 1 || shared.line != nil || busy.waiting != nil || calm.waiting != nil || quiet.waiting != nil {
			t.Errorf("left are %+v", shared)
		}
	})
}

// TestYield has a server take over what all servers agreed on.
func TestYield(t *testing.T) {
	own := Seat{Epoch: 10, Instance: "a", Dial: 3}
	for _, tt := range []struct {
		own, shared Seat
		want        verdict
	}{
		{Seat{}, Seat{Epoch: 5, Instance: "a"}, seatFree},
		{own, Seat{Epoch: 11, Instance: "a", Dial: 4}, seatReplace},
		{own, Seat{Epoch: 11, Instance: "b"}, seatFence},
		{own, Seat{Epoch: 10, Instance: "b"}, seatStale},
		{own.leave(10), Seat{Epoch: 11, Instance: "b"}, seatFree},
		{own.leave(10), Seat{Epoch: 9, Instance: "b"}, seatStale},
	} {
		next, v := tt.own.yield(tt.shared)
		want := tt.shared
		if tt.want == seatStale {
			want = tt.own
		}
		if v != tt.want || fmt.Sprint(next) != fmt.Sprint(want) {
			t.Errorf("%+v takes %+v: verdict %d, %+v", tt.own, tt.shared, v, next)
		}
	}
}
