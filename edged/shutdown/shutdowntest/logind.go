package shutdowntest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/edgekit/edgekit/edged/shutdown"
)

// Logind is a logind in memory. Its zero value is ready, allows no delay, and raises the
// delay to ReloadTo at a Reload. Its methods may be called by several goroutines.
type Logind struct {
	Delay    time.Duration // at first
	ReloadTo time.Duration // the delay after Reload; 0 leaves it
	Missing  error         // why Dial fails; nil if it does not

	mu      sync.Mutex
	down    bool // as last announced
	reloads int
	locks   int // that are held
	watches map[chan bool]bool
	changed chan struct{} // closed at each change of locks
}

// SetMissing has Dial fail with err from now on, nil for no more.
func (l *Logind) SetMissing(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Missing = err
}

// Dial connects to it.
func (l *Logind) Dial(context.Context) (shutdown.Logind, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Missing != nil {
		return nil, l.Missing
	}
	return &session{l: l}, nil
}

// Prepare announces a shutdown, or that it was cancelled, to all who watch. During a shutdown
// nobody gets a lock.
func (l *Logind) Prepare(ctx context.Context, down bool) error {
	l.mu.Lock()
	l.down = down
	var all []chan bool
	for ch := range l.watches {
		all = append(all, ch)
	}
	l.mu.Unlock()
	if len(all) == 0 {
		return errors.New("shutdowntest: nobody watches")
	}
	for _, ch := range all {
		select {
		case ch <- down:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Disconnect ends all connections, as a message bus that ends does.
func (l *Logind) Disconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for ch := range l.watches {
		close(ch)
	}
	l.watches = nil
}

// Locks is how many locks are held.
func (l *Logind) Locks() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.locks
}

// Reloads is how often the configuration was read again.
func (l *Logind) Reloads() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reloads
}

// WaitLocks waits until n locks are held.
func (l *Logind) WaitLocks(ctx context.Context, n int) error {
	for {
		l.mu.Lock()
		if l.locks == n {
			l.mu.Unlock()
			return nil
		}
		if l.changed == nil {
			l.changed = make(chan struct{})
		}
		ch := l.changed
		l.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// count changes the number of locks.
func (l *Logind) count(by int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locks += by
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}

// reload reads the configuration again.
func (l *Logind) reload() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reloads++
	if l.ReloadTo > 0 {
		l.Delay = l.ReloadTo
	}
}

// delay is how long it waits for locks.
func (l *Logind) delay() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Delay
}

// session is a connection to a Logind.
type session struct{ l *Logind }

func (s *session) InhibitDelay(context.Context) (time.Duration, error) { return s.l.delay(), nil }

func (s *session) Reload(context.Context) error {
	s.l.reload()
	return nil
}

func (s *session) Inhibit(context.Context) (io.Closer, error) {
	s.l.mu.Lock()
	down := s.l.down
	s.l.mu.Unlock()
	if down {
		return nil, errors.New("shutdowntest: the operation is in progress")
	}
	s.l.count(1)
	return &lock{release: sync.OnceFunc(func() { s.l.count(-1) })}, nil
}

func (s *session) Watch(context.Context) (<-chan bool, error) {
	ch := make(chan bool)
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	if s.l.watches == nil {
		s.l.watches = make(map[chan bool]bool)
	}
	s.l.watches[ch] = true
	return ch, nil
}

func (s *session) Close() error { return nil }

// lock is a lock that is held.
type lock struct{ release func() }

func (l *lock) Close() error {
	l.release()
	return nil
}
