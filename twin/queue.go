package twin

import (
	"context"
	"fmt"
	"sync"
)

// Bounds of an Engine's work.
const (
	queueLength = 4096    // requests that wait; the next one blocks its caller
	queueBytes  = 8 << 20 // names and values in them, unless one request alone has more
	batchLength = 512     // requests that the engine makes itself in one batch
)

// callQueue holds the calls that wait for the engine. It takes memory only while calls wait.
type callQueue struct {
	wake chan struct{} // has one element while calls wait

	mu    sync.Mutex
	calls []call
	bytes int
	room  chan struct{} // is closed when the queue is emptied; nil while nobody waits for that
}

func newQueue() callQueue { return callQueue{wake: make(chan struct{}, 1)} }

// put adds a call. It waits while the queue is full.
func (q *callQueue) put(ctx context.Context, ended <-chan struct{}, c call) error {
	size := requestSize(c.Request)
	for {
		room := q.offer(c, size)
		if room == nil {
			return nil
		}
		select {
		case <-room:
		case <-ended:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("twin: request for %s: %w", c.Device, ctx.Err())
		}
	}
}

// offer adds a call and returns nil. If the queue is full it returns a channel that is closed
// when it is not full any more.
func (q *callQueue) offer(c call, size int) <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.calls) >= queueLength || q.bytes > 0 && q.bytes+size > queueBytes {
		if q.room == nil {
			q.room = make(chan struct{})
		}
		return q.room
	}
	q.calls = append(q.calls, c)
	q.bytes += size
	if len(q.calls) == 1 {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// takeAll empties the queue. spare is memory that the queue may use from now on.
func (q *callQueue) takeAll(spare []call) []call {
	q.mu.Lock()
	defer q.mu.Unlock()
	calls := q.calls
	q.calls, q.bytes = spare[:0], 0
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
	return calls
}

// requestSize is how many bytes of names and values a request has, and a little more.
func requestSize(r Request) int {
	var twins map[string]*Patch
	switch r := r.(type) {
	case Update:
		twins = r.Twins
	case Sync:
		twins = r.Twins
	case Put:
		return 256 + len(r.Member.Spec) + len(r.Member.Model)
	}
	size := 256
	for name, p := range twins {
		size += len(name) + 64
		if p != nil {
			size += len(deref(p.Expected)) + len(deref(p.Actual))
		}
	}
	return size
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
