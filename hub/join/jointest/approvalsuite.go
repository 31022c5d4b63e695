package jointest

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/hub/join"
)

// StoreWithApprovals is a store of names, revoked keys and joins that wait.
type StoreWithApprovals interface {
	join.Names
	join.RevokedKeys
	join.Approvals
}

// ApprovalsSuite gives RunApprovals an implementation of join.Approvals.
type ApprovalsSuite struct {
	// Open makes an empty store; it is closed with t's cleanups.
	Open func(t *testing.T) StoreWithApprovals
	// Decide approves or denies the applicant for a node's name, as an operator does.
	Decide func(ctx context.Context, s StoreWithApprovals, node string, approve bool) error
}

// RunApprovals holds a store to the contract of join.Approvals: a machine waits until an
// operator decides, an approval lasts, and a key that was denied is revoked.
func RunApprovals(t *testing.T, s ApprovalsSuite) {
	for name, test := range map[string]func(*testing.T, ApprovalsSuite, StoreWithApprovals){
		"Approve": approvalApprove, "Deny": approvalDeny, "NotItsName": approvalNotItsName, "Independent": approvalIndependent,
	} {
		t.Run(name, func(t *testing.T) { test(t, s, s.Open(t)) })
	}
}

// applicant claims the name for the key and returns what a Handler passes on.
func applicant(t *testing.T, s StoreWithApprovals, node string) join.Applicant {
	t.Helper()
	a := join.Applicant{Node: node, Address: "192.0.2.7", Machine: "serial 7", Token: "t"}
	a.CSR, a.KeyHash = newCSR(t)
	checkClaim(t, s, node, a.KeyHash, true, nil)
	return a
}

func approvalApprove(t *testing.T, s ApprovalsSuite, store StoreWithApprovals) {
	a := applicant(t, store, "edge-1")
	checkApplied(t, store, a, false)
	for range 2 {
		checkApproved(t, store, a, join.ErrPending)
		checkApplied(t, store, a, true)
	}
	s.decide(t, store, "edge-1", true)
	for range 2 { // the answer may be lost
		checkApproved(t, store, a, nil)
		checkApplied(t, store, a, true)
	}
}

func approvalDeny(t *testing.T, s ApprovalsSuite, store StoreWithApprovals) {
	a := applicant(t, store, "edge-1")
	checkApproved(t, store, a, join.ErrPending)
	s.decide(t, store, "edge-1", false)
	checkApproved(t, store, a, join.ErrRevoked)
	if err := store.Revoked(t.Context(), a.KeyHash); !errors.Is(err, join.ErrRevoked) {
		t.Errorf("the key that was denied: %v", err)
	}
	checkApplied(t, store, a, false)
	checkHolder(t, store, "edge-1", "")
	// Another machine may apply for the name.
	checkApproved(t, store, applicant(t, store, "edge-1"), join.ErrPending)
}

// approvalNotItsName: a machine that does not have the name makes nothing that an
// operator could approve.
func approvalNotItsName(t *testing.T, s ApprovalsSuite, store StoreWithApprovals) {
	a := applicant(t, store, "edge-1")
	b := a
	b.CSR, b.KeyHash = newCSR(t)
	checkApproved(t, store, b, join.ErrNameInUse)
	checkApplied(t, store, b, false)
	checkApproved(t, store, a, join.ErrPending)
	s.decide(t, store, "edge-1", true)
	checkApproved(t, store, b, join.ErrNameInUse)
	checkApproved(t, store, a, nil)
}

func approvalIndependent(t *testing.T, s ApprovalsSuite, store StoreWithApprovals) {
	a, b := applicant(t, store, "edge-1"), applicant(t, store, "edge-2")
	checkApproved(t, store, a, join.ErrPending)
	checkApproved(t, store, b, join.ErrPending)
	s.decide(t, store, "edge-2", true)
	checkApproved(t, store, a, join.ErrPending)
	checkApproved(t, store, b, nil)
}

func (s ApprovalsSuite) decide(t *testing.T, store StoreWithApprovals, node string, approve bool) {
	t.Helper()
	if err := s.Decide(t.Context(), store, node, approve); err != nil {
		t.Fatalf("decide about %s: %v", node, err)
	}
}

func checkApproved(t *testing.T, s join.Approvals, a join.Applicant, want error) {
	t.Helper()
	if err := s.Approved(t.Context(), a); !errors.Is(err, want) {
		t.Errorf("Approved(%s) = %v, want %v", a.Node, err, want)
	}
}

func checkApplied(t *testing.T, s join.Approvals, a join.Applicant, want bool) {
	t.Helper()
	if got, err := s.Applied(t.Context(), a.Node, a.KeyHash); got != want || err != nil {
		t.Errorf("Applied(%s) = %t, %v, want %t", a.Node, got, err, want)
	}
}
