package devices

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// turns decides which device is written next. A device waits at most once, however often it
// is added: who writes it takes its newest report. The order is that of arrival, so each
// device gets its turn. Devices that are urgent (state or conditions changed) go before those
// with values only, three of four times while both wait. A device has at most one turn in
// every.
type turns struct {
	every time.Duration
	limit *rate.Limiter // of all writes
	wake  chan struct{} // holds a value after a change

	mu      sync.Mutex
	devices map[cache.Name]*turn
	urgent  []cache.Name // ready; a name whose turn is not ready any more is skipped
	values  []cache.Name
	resting resting // queued, and not due yet
	served  int     // turns given, to share between urgent and values
}

// turn is the state of one device.
type turn struct {
	queued  bool // in urgent, values or resting, or to be put there when it is not active any more
	urgent  bool
	ready   bool      // in urgent or values
	resting bool      // in resting
	active  bool      // somebody writes it
	gone    bool      // removed while it was active
	due     time.Time // not before
}

func newTurns(every time.Duration, limit *rate.Limiter) *turns {
	return &turns{every: every, limit: limit, wake: make(chan struct{}, 1), devices: make(map[cache.Name]*turn)}
}

// add has a device written. urgent lets it go before devices that are not.
func (t *turns) add(name cache.Name, urgent bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[name]
	if d == nil {
		d = &turn{}
		t.devices[name] = d
	}
	d.queued, d.gone = true, false
	if urgent && !d.urgent {
		d.urgent = true
		if d.ready {
			t.urgent = append(t.urgent, name) // its place in values is skipped
		}
	}
	t.readyLocked(name, d)
	t.signal()
}

// delay has a device that is being written, and is not removed, written again after a pause.
func (t *turns) delay(name cache.Name, pause time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.devices[name]; d != nil && !d.gone {
		d.queued, d.due = true, time.Now().Add(pause) // done makes it rest
	}
}

func (t *turns) readyLocked(name cache.Name, d *turn) {
	if !d.queued || d.ready || d.active || d.resting {
		return
	}
	if d.due.After(time.Now()) {
		d.resting = true
		heap.Push(&t.resting, rest{name, d.due})
		return
	}
	d.ready = true
	if d.urgent {
		t.urgent = append(t.urgent, name)
	} else {
		t.values = append(t.values, name)
	}
}

// done says that the device was written. It may have its next turn every later.
func (t *turns) done(name cache.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.devices[name]
	d.active = false
	if d.gone {
		delete(t.devices, name)
		return
	}
	if next := time.Now().Add(t.every); next.After(d.due) {
		d.due = next
	}
	t.readyLocked(name, d)
	t.signal()
}

// remove forgets a device, unless it is being written.
func (t *turns) remove(name cache.Name) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.devices[name]; d != nil && !d.active {
		delete(t.devices, name)
	} else if d != nil {
		d.gone = true
	}
}

func (t *turns) signal() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// next returns the device whose turn it is, when the limit has room for a write. It is
// called by one goroutine. ok is false when ctx has ended.
func (t *turns) next(ctx context.Context) (name cache.Name, ok bool) {
	if t.limit.Wait(ctx) != nil {
		return cache.Name{}, false
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		name, ok, wait := t.pop()
		if ok {
			return name, true
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return cache.Name{}, false
		case <-t.wake:
		case <-timer.C:
		}
	}
}

// pop takes the first ready device; without one it returns for how long none gets ready.
func (t *turns) pop() (name cache.Name, ok bool, wait time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait = t.wakeLocked()
	queues := []*[]cache.Name{&t.urgent, &t.values}
	if t.served%4 == 3 {
		queues[0], queues[1] = queues[1], queues[0]
	}
	for _, queue := range queues {
		for len(*queue) > 0 {
			name := (*queue)[0]
			*queue = (*queue)[1:]
			d := t.devices[name]
			if d == nil || !d.ready || d.urgent != (queue == &t.urgent) {
				continue // removed, or it had its turn from the other queue
			}
			d.queued, d.ready, d.urgent, d.active = false, false, false, true
			t.served++
			return name, true, 0
		}
	}
	return cache.Name{}, false, wait
}

// wakeLocked makes devices ready that have rested long enough and returns the time until
// the next one.
func (t *turns) wakeLocked() time.Duration {
	now := time.Now()
	for len(t.resting) > 0 {
		first := t.resting[0]
		if wait := first.due.Sub(now); wait > 0 {
			return wait
		}
		heap.Pop(&t.resting)
		if d := t.devices[first.name]; d != nil && d.resting {
			d.resting = false
			t.readyLocked(first.name, d)
		}
	}
	return time.Hour
}

// rest is a device that rests until due.
type rest struct {
	name cache.Name
	due  time.Time
}

// resting is a heap of devices, the first due in front.
type resting []rest

func (r resting) Len() int           { return len(r) }
func (r resting) Less(i, j int) bool { return r[i].due.Before(r[j].due) }
func (r resting) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }

// Push adds a device; package heap calls it.
func (r *resting) Push(x any) { *r = append(*r, x.(rest)) }

// Pop removes the last device; package heap calls it.
func (r *resting) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}
