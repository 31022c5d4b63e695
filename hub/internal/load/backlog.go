package load

import (
	"context"
	"net"
	"slices"
	"sync"
)

// Backlog is connections that wait for Accept. All methods may be called by
// several goroutines at once.
type Backlog[C comparable] struct {
	places  int
	arrived chan struct{} // has a token when waiting may not be empty
	closed  chan struct{} // closed when err is set

	mu      sync.Mutex
	taken   int // places that are reserved or that somebody waits in
	waiting []C
	err     error // what Accept fails with; nil until Close
}

// NewBacklog makes a Backlog with so many places.
func NewBacklog[C comparable](places int) *Backlog[C] {
	return &Backlog[C]{places: places, arrived: make(chan struct{}, 1), closed: make(chan struct{})}
}

// Reserve takes a place for a connection that is about to come; Put or Free must follow.
// It reports false when all places are taken.
func (q *Backlog[C]) Reserve() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken >= q.places {
		return false
	}
	q.taken++
	return true
}

// Free gives a place back that was reserved for a connection that did not come.
func (q *Backlog[C]) Free() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken--
}

// Put lets c wait in a reserved place. It reports false after Close: the caller then
// closes c. The caller must call Drop when c ends.
func (q *Backlog[C]) Put(c C) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		q.taken--
		return false
	}
	q.waiting = append(q.waiting, c)
	q.wakeLocked()
	return true
}

// Drop removes c, which has ended. It does nothing if c does not wait.
func (q *Backlog[C]) Drop(c C) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := slices.Index(q.waiting, c); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		q.taken--
	}
}

func (q *Backlog[C]) wakeLocked() {
	select {
	case q.arrived <- struct{}{}:
	default:
	}
}

// Accept waits for the next connection. After Close it fails with the error that Close
// was given.
func (q *Backlog[C]) Accept(ctx context.Context) (C, error) {
	var none C
	for {
		if err := ctx.Err(); err != nil {
			return none, err
		}
		q.mu.Lock()
		if q.err != nil {
			q.mu.Unlock()
			return none, q.err
		}
		if len(q.waiting) > 0 {
			c := q.waiting[0]
			q.waiting = slices.Delete(q.waiting, 0, 1)
			q.taken--
			if len(q.waiting) > 0 {
				q.wakeLocked() // for another Accept
			}
			q.mu.Unlock()
			return c, nil
		}
		q.mu.Unlock()
		select {
		case <-q.arrived:
		case <-q.closed:
		case <-ctx.Done():
		}
	}
}

// Closed reports whether Close was called.
func (q *Backlog[C]) Closed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err != nil
}

// Close makes every Accept fail with err, nil meaning net.ErrClosed, and returns the
// connections that waited, for the caller to close. A second call does nothing.
func (q *Backlog[C]) Close(err error) []C {
	if err == nil {
		err = net.ErrClosed
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return nil
	}
	q.err = err
	close(q.closed)
	left := q.waiting
	q.taken -= len(left)
	q.waiting = nil
	return left
}
