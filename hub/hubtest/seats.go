package hubtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// Seats is what the servers of one cloud share: who holds each node. The zero
// value is empty and ready; all methods may be called by several goroutines at
// once.
type Seats struct {
	mu       sync.Mutex
	seats    map[string]hub.Seat
	watchers []func(string, hub.Seat)
}

// Watch has f called with each seat that is stored; it is Server.Supersede.
func (s *Seats) Watch(f func(node string, seat hub.Seat)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// Held is who holds a node.
func (s *Seats) Held(node string) hub.Seat {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seats[node]
}

// leave notes that a node's session has ended, unless a newer one has begun.
func (s *Seats) leave(node string, epoch uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if seat, ok := s.seats[node]; ok && seat.Epoch == epoch {
		seat.Left = max(uint64(at.UnixMicro()), epoch+1)
		s.seats[node] = seat
	}
}

// claim is the hub.Node.Claim of a node.
func (s *Seats) claim(node string) func(context.Context, func(hub.Seat) (hub.Seat, error)) error {
	return func(_ context.Context, decide func(hub.Seat) (hub.Seat, error)) error {
		s.mu.Lock()
		next, err := decide(s.seats[node])
		if err != nil {
			s.mu.Unlock()
			return err
		}
		if s.seats == nil {
			s.seats = make(map[string]hub.Seat)
		}
		s.seats[node] = next
		watchers := slices.Clone(s.watchers)
		s.mu.Unlock()
		for _, told := range watchers {
			told(node, next)
		}
		return nil
	}
}
