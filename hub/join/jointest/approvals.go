package jointest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"slices"
	"testing"

	"github.com/edgekit/edgekit/hub/join"
)

var _ join.Approvals = (*Store)(nil)

// application is a join that waits, or was approved.
type application struct {
	join.Applicant
	approved, denied bool
}

// Applied reports whether the key applied for the name and has it.
func (s *Store) Applied(_ context.Context, node, keyHash string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.applied[node]
	return a.KeyHash == keyHash && keyHash != "" && slices.Contains(s.names[node], keyHash), nil
}

// Approved records an applicant and returns what was decided.
func (s *Store) Approved(_ context.Context, a join.Applicant) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Contains(s.names[a.Node], a.KeyHash) {
		return &join.NameInUseError{Node: a.Node}
	}
	had := s.applied[a.Node]
	switch {
	case had.KeyHash != a.KeyHash:
		if s.applied == nil {
			s.applied = make(map[string]application)
		}
		s.applied[a.Node] = application{Applicant: a}
		return join.ErrPending
	case had.approved:
		return nil
	case had.denied:
		s.revokeLocked(a.Node, a.KeyHash)
		delete(s.applied, a.Node)
		return join.ErrDenied
	}
	return join.ErrPending
}

// Decide approves or denies the applicant for a node's name, as an operator does.
func (s *Store) Decide(node string, approve bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.applied[node]
	if !ok {
		return fmt.Errorf("no machine waits for the name %s", node)
	}
	a.approved, a.denied = approve, !approve
	s.applied[node] = a
	return nil
}

// Waiting returns the machine that applied for a node's name.
func (s *Store) Waiting(node string) (a join.Applicant, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	had, ok := s.applied[node]
	return had.Applicant, ok
}

// newCSR makes a request for a certificate, and returns the hash of its key.
func newCSR(t *testing.T) (csr, keyHash string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	pub, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(pub)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), hex.EncodeToString(sum[:])
}
