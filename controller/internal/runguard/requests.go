package runguard

import "sync"

// Requests counts the requests that a server answers, so that Run can wait for them. net/http may
// still start one while its server closes, which a WaitGroup alone does not allow. The zero value
// is ready.
type Requests struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// Enter counts a request, which calls Leave when it has ended. It reports false after Close: the
// request must not be answered.
func (r *Requests) Enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.running.Add(1)
	}
	return !r.closed
}

// Leave ends a request for which Enter reported true.
func (r *Requests) Leave() { r.running.Done() }

// Close lets no further request in and waits for those that are being answered.
func (r *Requests) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}
