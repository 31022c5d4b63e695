package load

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandshakeLimiter: 1,000 connections come at once and return when they are told to,
// and the one that waits often wakes late. In no second more than 100 handshakes start,
// and the last one starts after about ten seconds.
func TestHandshakeLimiter(t *testing.T) {
	for _, late := range []time.Duration{0, 5 * time.Millisecond, 300 * time.Millisecond, 1500 * time.Millisecond} {
		t.Run(late.String(), func(t *testing.T) { admitMany(t, late) })
	}
	start := time.Unix(1000, 0)
	var open HandshakeLimiter
	for range 10_000 {
		if open.Reserve(start)+open.Take(start) != 0 {
			t.Fatal("without a limit one was sent away")
		}
	}
	one := NewHandshakeLimiter(1, 1)
	for i, want := range []bool{true, true, false} {
		if away := one.Reserve(start); (away == 0) != want {
			t.Errorf("one a second: number %d is sent away for %v", i, away)
		}
	}
	for i, want := range []time.Duration{0, time.Second} {
		if early := one.Take(start); early != want {
			t.Errorf("one a second: number %d is early by %v", i, early)
		}
	}
	one.Cancel()
	if one.waiting != 0 {
		t.Errorf("%d wait where nobody does", one.waiting)
	}
}

// admitMany wakes each waiting handshake too late, by up to late.
func admitMany(t *testing.T, late time.Duration) {
	const nodes, rate = 1000, 100
	random := rand.New(rand.NewPCG(1, uint64(late)))
	limiter := NewHandshakeLimiter(rate, 20)
	start := time.Unix(1000, 0)
	due := make([]time.Time, nodes) // when the others come
	for i := range due {
		due[i] = start
	}
	var wakes time.Time // the first in line
	var in []time.Time
	for len(in) < nodes {
		slices.SortFunc(due, time.Time.Compare)
		if len(due) > 0 && (limiter.waiting == 0 || due[0].Before(wakes)) {
			now := due[0]
			if away := limiter.Reserve(now); away > 0 {
				due[0] = now.Add(away)
				continue
			}
			if due = due[1:]; limiter.waiting == 1 {
				wakes = now
			}
			continue
		}
		early := limiter.Take(wakes)
		if early == 0 {
			in = append(in, wakes)
			continue
		}
		wakes = wakes.Add(early + time.Duration(random.Int64N(int64(late)+1)))
	}
	for i, at := range in {
		if i >= rate && at.Sub(in[i-rate]) < time.Second {
			t.Fatalf("%d came in within %v", rate+1, at.Sub(in[i-rate]))
		}
	}
	if took := in[nodes-1].Sub(start); took > 15*time.Second && late < time.Second {
		t.Errorf("the last came in after %v", took)
	}
}

// TestFairSemaphore: one node with much work and two with little get places round robin.
func TestFairSemaphore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &FairSemaphore{free: 1}
		var busy, calm, quiet Waiter
		var mu sync.Mutex
		var order []string
		var wg sync.WaitGroup
		work := func(name string, who *Waiter) {
			wg.Go(func() {
				if err := shared.Acquire(t.Context(), who); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(time.Second)
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				shared.Release()
			})
			synctest.Wait()
		}
		for range 4 {
			work("b", &busy)
		}
		work("c", &calm)
		work("q", &quiet)
		work("c", &calm)
		// A waiter that gives up is removed.
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if shared.Acquire(ctx, &quiet) == nil {
				t.Error("a place for one that gave up")
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		if got := strings.Join(order, ""); got != "bbcqbcb" {
			t.Errorf("the order was %s", got)
		}
		if shared.free != 1 || shared.queue != nil || busy.waiting != nil || calm.waiting != nil || quiet.waiting != nil {
			t.Errorf("left are %+v", shared)
		}
	})
}
