package hubtest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// Claims is the store that the servers of one cloud share: who holds each node. The zero
// value is empty and ready; all methods may be called by several goroutines at once.
type Claims struct {
	mu       sync.Mutex
	claims   map[string]hub.Claim
	watchers []func(string, hub.Claim)
}

// Watch calls f with each claim that is stored; f is Server.Supersede.
func (s *Claims) Watch(f func(node string, claim hub.Claim)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers = append(s.watchers, f)
}

// Held is who holds a node.
func (s *Claims) Held(node string) hub.Claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.claims[node]
}

// endSession records that a node's session has ended, unless a newer one has begun.
func (s *Claims) endSession(node string, epoch uint64, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if claim, ok := s.claims[node]; ok && claim.Epoch == epoch {
		claim.EndedAt = max(uint64(at.UnixMicro()), epoch+1)
		s.claims[node] = claim
	}
}

// claim is the hub.Node.Claim of a node.
func (s *Claims) claim(node string) func(context.Context, func(hub.Claim) (hub.Claim, error)) error {
	return func(_ context.Context, decide func(hub.Claim) (hub.Claim, error)) error {
		s.mu.Lock()
		next, err := decide(s.claims[node])
		if err != nil {
			s.mu.Unlock()
			return err
		}
		if s.claims == nil {
			s.claims = make(map[string]hub.Claim)
		}
		s.claims[node] = next
		watchers := slices.Clone(s.watchers)
		s.mu.Unlock()
		for _, changed := range watchers {
			changed(node, next)
		}
		return nil
	}
}
