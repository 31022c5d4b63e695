// Package jointest has what tests of a link with identities need: the stores of
// package join in memory, which serve programs whose cloud forgets too, and a
// cloud's authority with certificates for both ends.
package jointest

import (
	"context"
	"sync"

	"github.com/edgekit/edgekit/hub/join"
)

// Store is a join.Tokens and a join.Names in memory. The zero value is empty
// and ready; all methods may be called by several goroutines at once.
type Store struct {
	mu     sync.Mutex
	tokens map[string]join.Record
	names  map[string]string
}

// Add stores a token.
func (s *Store) Add(r join.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tokens == nil {
		s.tokens = make(map[string]join.Record)
	}
	s.tokens[r.ID] = r
}

// Token reads one token.
func (s *Store) Token(_ context.Context, id string) (join.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.tokens[id]
	if !ok {
		return join.Record{}, join.ErrTokenInvalid
	}
	return r, nil
}

// Use marks a token as used by one key for one node.
func (s *Store) Use(_ context.Context, id, node, keyHash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.tokens[id]
	switch {
	case !ok:
		return join.ErrTokenInvalid
	case r.UsedBy != "" && (r.UsedBy != keyHash || r.UsedFor != node):
		return join.ErrTokenUsed
	}
	r.UsedBy, r.UsedFor = keyHash, node
	s.tokens[id] = r
	return nil
}

// Claim gives a name to a key.
func (s *Store) Claim(_ context.Context, node, keyHash string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch have := s.names[node]; have {
	case keyHash:
		return false, nil
	case "":
		if s.names == nil {
			s.names = make(map[string]string)
		}
		s.names[node] = keyHash
		return true, nil
	}
	return false, &join.NameInUseError{Node: node}
}

// Release takes a claim back.
func (s *Store) Release(_ context.Context, node, keyHash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[node] == keyHash {
		delete(s.names, node)
	}
	return nil
}

// Forget frees a name, whoever has it, as an operator does.
func (s *Store) Forget(node string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.names, node)
}
