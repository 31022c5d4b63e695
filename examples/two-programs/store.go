package main

import (
	"context"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// store remembers tokens and who has which name: a join.Tokens and join.Names in memory. A
// cloud whose names must survive a restart keeps both in a database.
type store struct {
	mu     sync.Mutex
	tokens map[string]join.Record
	names  map[string]string // hash of the key that has the name
}

func newStore() *store {
	return &store{tokens: make(map[string]join.Record), names: make(map[string]string)}
}

func (s *store) add(r join.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[r.ID] = r
}

// Token reads one token.
func (s *store) Token(_ context.Context, id string) (join.Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.tokens[id]
	if !ok {
		return join.Record{}, join.ErrTokenInvalid
	}
	return r, nil
}

// Use marks a token as used. The same key may use it again, since the answer may be lost.
func (s *store) Use(_ context.Context, id, node, keyHash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.tokens[id]
	switch {
	case !ok:
		return join.ErrTokenInvalid
	case r.UsedBy != "" && (r.UsedBy != keyHash || r.UsedFor != node):
		return join.ErrTokenUsed
	}
	r.UsedBy, r.UsedFor, r.UsedAt = keyHash, node, time.Now()
	s.tokens[id] = r
	return nil
}

// Claim gives a free name to a key.
func (s *store) Claim(_ context.Context, node, keyHash string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.names[node] {
	case keyHash:
		return false, nil
	case "":
		s.names[node] = keyHash
		return true, nil
	}
	return false, &join.NameInUseError{Node: node}
}

// Release takes a name back.
func (s *store) Release(_ context.Context, node, keyHash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[node] == keyHash {
		delete(s.names, node)
	}
	return nil
}

// Holder is the hash of the key that has a name.
func (s *store) Holder(_ context.Context, node string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.names[node], nil
}
