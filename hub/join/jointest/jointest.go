// Package jointest helps to test links with identities: it has the stores of package join
// in memory, and a cloud's authority with certificates for both ends. The stores also
// serve programs whose cloud may forget everything at a restart.
//
// Those who implement a store of package join check it by [RunTokens], [RunNames],
// [RunFreedNames], [RunKeyReplacer], [RunLedger], [RunRevokedKeys] and [RunApprovals]. A suite takes a
// function that opens an empty store, and one for what an operator does, where the
// interface has no method for that.
package jointest

import (
	"context"
	"crypto/x509"
	"slices"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// Store has all stores of package join, in memory: it is a join.Tokens, Names, Ledger and
// RevokedKeys. The zero value is empty and ready; all methods may be called by several
// goroutines at once.
type Store struct {
	mu      sync.Mutex
	tokens  map[string]join.Record
	names   map[string][]string // as KeyReplacer.Keys gives them
	revoked map[string]bool
	issued  map[string]string
	applied map[string]application // by node
}

var (
	_ join.Tokens      = (*Store)(nil)
	_ join.Names       = (*Store)(nil)
	_ join.KeyReplacer = (*Store)(nil)
	_ join.Ledger      = (*Store)(nil)
	_ join.RevokedKeys = (*Store)(nil)
)

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
	r.UsedBy, r.UsedFor, r.UsedAt = keyHash, node, time.Now()
	s.tokens[id] = r
	return nil
}

// Claim gives a name to a key.
func (s *Store) Claim(_ context.Context, node, keyHash string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch have := s.names[node]; {
	case slices.Contains(have, keyHash):
		return false, nil
	case len(have) == 0:
		if s.names == nil {
			s.names = make(map[string][]string)
		}
		s.names[node] = []string{keyHash}
		return true, nil
	}
	return false, &join.NameInUseError{Node: node}
}

// Release takes a claim back.
func (s *Store) Release(_ context.Context, node, keyHash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.names[node], keyHash) {
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

// Holder returns the key that has a name.
func (s *Store) Holder(_ context.Context, node string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.names[node]) == 0 {
		return "", nil
	}
	return s.names[node][0], nil
}

// Keys returns the keys that have a name.
func (s *Store) Keys(_ context.Context, node string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names[node]), nil
}

// Replace gives a name a new key.
func (s *Store) Replace(_ context.Context, node, old, fresh string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.names[node], old) {
		return join.ErrIdentity
	}
	if s.names[node][0] != fresh {
		s.names[node] = []string{fresh, old}
	}
	return nil
}

// Confirm ends the use of the key before.
func (s *Store) Confirm(_ context.Context, node, keyHash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if keys := s.names[node]; len(keys) > 0 && keys[0] == keyHash {
		s.names[node] = keys[:1]
	}
	return nil
}

// Issued notes the pin of the authority that signed a node's certificate.
func (s *Store) Issued(_ context.Context, node string, _ *x509.Certificate, issuer string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.issued == nil {
		s.issued = make(map[string]string)
	}
	s.issued[node] = issuer
	return nil
}

// Issuer is the pin that Issued noted last for a node.
func (s *Store) Issuer(node string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued[node]
}

// Revoked returns join.ErrRevoked for a key that was revoked.
func (s *Store) Revoked(_ context.Context, keyHash string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.revoked[keyHash] {
		return join.ErrRevoked
	}
	return nil
}

// Revoke makes a key worthless and frees its name, as an operator does.
func (s *Store) Revoke(node, keyHash string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revokeLocked(node, keyHash)
}

func (s *Store) revokeLocked(node, keyHash string) {
	if s.revoked == nil {
		s.revoked = make(map[string]bool)
	}
	s.revoked[keyHash] = true
	if slices.Contains(s.names[node], keyHash) {
		delete(s.names, node)
	}
}
