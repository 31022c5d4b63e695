package hub

import (
	"context"
	"slices"
	"sync"
	"time"
)

// admission paces handshakes, as a pure function of when they come: at most
// rate of them in any second. Some wait at the door; those that are too many for
// that are told when to return, one after the other in the same pace, so that a
// herd comes back in a line. The zero value admits all.
type admission struct {
	every    time.Duration // between two, in the long run
	slack    time.Duration // how far ahead of that they may be
	patience time.Duration // how long one may wait at the door
	next     time.Time     // when the next one would be in time
	back     time.Time     // when the last one that was sent away returns
}

const (
	returnMin   = time.Second     // the shortest time that one is sent away for
	patienceMax = 2 * time.Second // the longest that one waits at the door
)

// newAdmission splits rate, per second, into a steady pace and a burst on top.
// waiting is how many may be at the door.
func newAdmission(rate, waiting int) admission {
	if rate < 0 {
		return admission{}
	}
	burst := max(1, rate/10)
	every := time.Second / time.Duration(max(1, rate-burst))
	return admission{every: every, slack: time.Duration(burst-1) * every, patience: time.Duration(waiting) * every}
}

// take lets one in after a wait, or says how long it has to stay away.
func (a *admission) take(now time.Time) (wait, away time.Duration) {
	if a.every == 0 {
		return 0, 0
	}
	if a.next.Before(now) {
		a.next = now
	}
	if wait := max(0, a.next.Sub(now)-a.slack); wait <= min(a.patience, patienceMax) {
		a.next = a.next.Add(a.every)
		return wait, 0
	}
	if soonest := now.Add(returnMin); a.back.Before(soonest) {
		a.back = soonest
	}
	a.back = a.back.Add(a.every)
	return 0, a.back.Sub(now)
}

// turns shares places for work among nodes. A place that becomes free goes to
// the nodes that wait in turn, however much each of them has to do, so that a
// busy one delays another by one piece of work and not by all of its own. A nil
// turns has room for all.
type turns struct {
	mu   sync.Mutex
	free int
	line []*turn // nodes that wait, next first
}

// turn is one node's part in it; the zero value is ready. The turns' mu guards
// it.
type turn struct{ waiting []chan struct{} }

// take waits for a place until ctx ends.
func (t *turns) take(ctx context.Context, who *turn) error {
	if t == nil {
		return ctx.Err()
	}
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	place := make(chan struct{})
	if len(who.waiting) == 0 {
		t.line = append(t.line, who)
	}
	who.waiting = append(who.waiting, place)
	t.mu.Unlock()
	select {
	case <-place:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	i := slices.Index(who.waiting, place)
	if i >= 0 {
		who.waiting = slices.Delete(who.waiting, i, i+1)
		if len(who.waiting) == 0 {
			who.waiting = nil
			t.line = slices.DeleteFunc(t.line, func(w *turn) bool { return w == who })
		}
	}
	t.mu.Unlock()
	if i < 0 {
		t.give() // it was given meanwhile
	}
	return ctx.Err()
}

// give frees a place.
func (t *turns) give() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) == 0 {
		t.line = nil
		t.free++
		return
	}
	who := t.line[0]
	t.line = t.line[1:]
	close(who.waiting[0])
	if who.waiting = who.waiting[1:]; len(who.waiting) > 0 {
		t.line = append(t.line, who)
	} else {
		who.waiting = nil
	}
}
