package jointest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// LedgerSuite gives RunLedger an implementation of join.Ledger.
type LedgerSuite struct {
	// Open makes an empty store; it is closed with t's cleanups. If it is a join.Names
	// too, RunLedger claims a name before it issues a certificate, as a join.Handler does.
	Open func(t *testing.T) join.Ledger
	// Issuer returns what an operator sees of the node: the issuer that the store noted
	// last.
	Issuer func(ctx context.Context, s join.Ledger, node string) (string, error)
}

// RunLedger holds a store to the contract of join.Ledger: of each node it has the issuer
// of the last certificate.
func RunLedger(t *testing.T, s LedgerSuite) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, LedgerSuite, join.Ledger)
	}{
		{"Renewal", ledgerRenewal}, {"Independent", ledgerIndependent}, {"AtOnce", ledgerAtOnce},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s, s.Open(t)) })
	}
}

func (s LedgerSuite) check(t *testing.T, ledger join.Ledger, node string, want ...string) {
	t.Helper()
	if got, err := s.Issuer(t.Context(), ledger, node); err != nil || !slices.Contains(want, got) {
		t.Errorf("issuer of %s: %q, %v, want one of %q", node, got, err, want)
	}
}

// ledgerRenewal: the last certificate counts; the same one may be noted again.
func ledgerRenewal(t *testing.T, s LedgerSuite, ledger join.Ledger) {
	cert := certificate(t, ledger, "edge-1")
	for _, issuer := range []string{keyHash(1), keyHash(1), keyHash(2)} {
		if err := ledger.Issued(t.Context(), "edge-1", cert, issuer); err != nil {
			t.Fatal(err)
		}
		s.check(t, ledger, "edge-1", issuer)
	}
}

// ledgerIndependent: a certificate of one node changes nothing of another node.
func ledgerIndependent(t *testing.T, s LedgerSuite, ledger join.Ledger) {
	for i := range 2 {
		node := fmt.Sprintf("edge-%d", i)
		if err := ledger.Issued(t.Context(), node, certificate(t, ledger, node), keyHash(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		s.check(t, ledger, fmt.Sprintf("edge-%d", i), keyHash(i))
	}
}

// ledgerAtOnce: of certificates that several clouds issue at the same time, one is noted.
func ledgerAtOnce(t *testing.T, s LedgerSuite, ledger join.Ledger) {
	cert := certificate(t, ledger, "edge-1")
	for range rounds {
		var issuers []string
		for i, err := range atOnce(func(i int) error { return ledger.Issued(t.Context(), "edge-1", cert, keyHash(i)) }) {
			if err != nil {
				t.Errorf("certificate %d: %v", i, err)
			}
			issuers = append(issuers, keyHash(i))
		}
		s.check(t, ledger, "edge-1", issuers...)
	}
}

// certificate makes a node's certificate, whose key has the node's name in the store.
func certificate(t *testing.T, ledger join.Ledger, node string) *x509.Certificate {
	t.Helper()
	ca, err := join.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueNode(key.Public(), node, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if names, ok := ledger.(join.Names); ok {
		checkClaim(t, names, node, join.KeyHash(cert), true, nil)
	}
	return cert
}
