package manager

import (
	"maps"
	"slices"
	"sync"
)

// subscribers are functions that want to know of each new T. The zero value is empty. Its
// methods may be called by several goroutines at once.
type subscribers[T any] struct {
	mu   sync.Mutex
	all  map[int]func(T)
	next int
}

// add adds a function until stop is called. A running call may end after stop.
func (s *subscribers[T]) add(f func(T)) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all == nil {
		s.all = make(map[int]func(T))
	}
	s.next++
	id := s.next
	s.all[id] = f
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, id)
	}
}

// call calls all functions, without a lock.
func (s *subscribers[T]) call(v T) {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.all))
	s.mu.Unlock()
	for _, f := range all {
		f(v)
	}
}
