package nodeidentity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

func TestApprovalContract(t *testing.T) {
	jointest.RunApprovals(t, jointest.ApprovalsSuite{
		Open: func(t *testing.T) jointest.StoreWithApprovals { return newStore(t, controllertest.NewClientset()) },
		Decide: func(ctx context.Context, s jointest.StoreWithApprovals, node string, approve bool) error {
			d := nodeidentity.Deny
			if approve {
				d = nodeidentity.Approve
			}
			_, err := s.(*nodeidentity.Store).Decide(ctx, node, "", d)
			return err
		},
	})
}

// applied is a machine that has asked for the name.
func applied(t *testing.T, s *nodeidentity.Store, node string) join.Applicant {
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
	a := join.Applicant{
		Node: node, KeyHash: hex.EncodeToString(sum[:]), Address: "192.0.2.7", Machine: "serial 7", Token: "abc",
		CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})),
	}
	if _, err := s.Claim(t.Context(), node, a.KeyHash); err != nil {
		t.Fatal(err)
	}
	if err := s.Approved(t.Context(), a); !errors.Is(err, join.ErrPending) {
		t.Fatal(err)
	}
	return a
}

// forget removes the CertificateSigningRequests, as the cluster does after some time.
func forget(t *testing.T, client kubernetes.Interface) {
	t.Helper()
	list, err := client.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, csr := range list.Items {
		if err := client.CertificatesV1().CertificateSigningRequests().Delete(t.Context(), csr.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func decide(t *testing.T, s *nodeidentity.Store, node string, d nodeidentity.Decision) {
	t.Helper()
	if _, err := s.Decide(t.Context(), node, "", d); err != nil {
		t.Fatal(err)
	}
}

// TestDecisionsLast: a decision outlives its CertificateSigningRequest, also when the
// machine is off meanwhile, and a machine that still waits applies anew.
func TestDecisionsLast(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	yes, no, open := applied(t, s, "yes"), applied(t, s, "no"), applied(t, s, "open")
	decide(t, s, "yes", nodeidentity.Approve)
	decide(t, s, "no", nodeidentity.Deny)
	for range 2 { // several cloudcores do it
		if err := s.KeepDecisions(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	forget(t, client)
	if err := s.Approved(t.Context(), yes); err != nil {
		t.Error("approved:", err)
	}
	if err := s.Revoked(t.Context(), no.KeyHash); !errors.Is(err, join.ErrDenied) || !errors.Is(err, join.ErrRevoked) {
		t.Error("denied:", err)
	}
	if err := s.Approved(t.Context(), open); !errors.Is(err, join.ErrPending) {
		t.Error("open:", err)
	}
	waiting, err := s.Waiting(t.Context())
	if err != nil || len(waiting) != 1 || waiting[0].Node != "open" || time.Since(waiting[0].Since) > time.Hour {
		t.Errorf("waiting: %+v, %v", waiting, err)
	}
	if behind, err := s.Behind(t.Context(), "pin"); err != nil || len(behind) != 1 {
		t.Errorf("machines that wait have no certificate to renew: %+v, %v", behind, err)
	}
}

// TestAbandonedApplication: a machine that waits no more does not keep its name.
func TestAbandonedApplication(t *testing.T) {
	for name, leave := range map[string]func(*testing.T, kubernetes.Interface, *nodeidentity.Store){
		"denied, and never asked again": func(t *testing.T, _ kubernetes.Interface, s *nodeidentity.Store) {
			decide(t, s, "edge-1", nodeidentity.Deny)
		},
		"its request is gone": func(t *testing.T, client kubernetes.Interface, _ *nodeidentity.Store) { forget(t, client) },
	} {
		t.Run(name, func(t *testing.T) {
			client := controllertest.NewClientset()
			s := newStore(t, client)
			gone := applied(t, s, "edge-1")
			if _, err := s.Claim(t.Context(), "edge-1", strings.Repeat("a", 64)); !errors.Is(err, join.ErrNameInUse) {
				t.Fatal("the name of a machine that waits:", err)
			}
			leave(t, client, s)
			applied(t, s, "edge-1")
			if err := s.Approved(t.Context(), gone); err == nil || errors.Is(err, join.ErrPending) {
				t.Error("the first machine:", err)
			}
			decide(t, s, "edge-1", nodeidentity.Approve)
			if err := s.Approved(t.Context(), gone); err == nil {
				t.Error("the first machine joined by the approval of the second")
			}
		})
	}
}

// TestJoinedWithAnotherToken: a machine that waits, and joins with a token that needs no approval,
// keeps its name when its request is removed or denied.
func TestJoinedWithAnotherToken(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	ca, err := join.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	keys := make(map[string]string)
	for _, node := range []string{"removed", "denied"} {
		a := applied(t, s, node)
		block, _ := pem.Decode([]byte(a.CSR))
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.IssueNode(csr.PublicKey, node, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Issued(t.Context(), node, cert, "pin"); err != nil {
			t.Fatal(err)
		}
		keys[node] = a.KeyHash
	}
	decide(t, s, "denied", nodeidentity.Deny)
	if err := s.KeepDecisions(t.Context()); err != nil {
		t.Fatal(err)
	}
	forget(t, client)
	for node, key := range keys {
		if _, err := s.Claim(t.Context(), node, strings.Repeat("a", 64)); !errors.Is(err, join.ErrNameInUse) {
			t.Errorf("%s: another machine got the name: %v", node, err)
		}
		if err := s.Revoked(t.Context(), key); err != nil {
			t.Errorf("%s: %v", node, err)
		}
	}
	if nodes, err := s.ListNodes(t.Context()); err != nil || len(nodes) != 2 || nodes[0].Waits || nodes[1].Waits {
		t.Errorf("%+v, %v", nodes, err)
	}
}

// TestWaitingIsBounded: no more machines than that wait.
func TestWaitingIsBounded(t *testing.T) {
	client := controllertest.NewClientset()
	s, err := nodeidentity.New(nodeidentity.Config{Client: client, MaxWaiting: 2})
	if err != nil {
		t.Fatal(err)
	}
	applied(t, s, "edge-1")
	first := applied(t, s, "edge-2")
	if _, err := s.Claim(t.Context(), "edge-3", strings.Repeat("a", 64)); err != nil {
		t.Fatal(err)
	}
	third := join.Applicant{Node: "edge-3", KeyHash: strings.Repeat("a", 64)}
	if err := s.Approved(t.Context(), third); !errors.Is(err, join.ErrBusy) {
		t.Error(err)
	}
	if err := s.Approved(t.Context(), first); !errors.Is(err, join.ErrPending) {
		t.Error(err)
	}
	if _, err := nodeidentity.New(nodeidentity.Config{Client: client, MaxWaiting: -1}); err == nil || !strings.Contains(err.Error(), "MaxWaiting") {
		t.Error(err)
	}
}

// TestDecide: what an operator names must wait, and be one machine.
func TestDecide(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	a := applied(t, s, "edge-1")
	for name, try := range map[string]func() error{
		"nobody":      func() error { _, err := s.Decide(t.Context(), "edge-2", "", nodeidentity.Approve); return err },
		"another key": func() error { _, err := s.Decide(t.Context(), "edge-1", "xyz", nodeidentity.Approve); return err },
	} {
		if err := try(); !errors.Is(err, nodeidentity.ErrNotWaiting) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.Decide(t.Context(), "edge-1", "", "Maybe"); err == nil {
		t.Error("a decision that is none")
	}
	// A request of somebody else for the same name, which cloudcore has not made.
	forged := strings.Repeat("b", 64)
	for name, csr := range map[string]*certificatesv1.CertificateSigningRequest{
		"another key's name": {ObjectMeta: metav1.ObjectMeta{Name: "edgekit-" + forged, Annotations: map[string]string{"edgekit.io/node": "edge-1"}},
			Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: nodeidentity.SignerName, Request: []byte(a.CSR)}},
		"no request": {ObjectMeta: metav1.ObjectMeta{Name: "edgekit-x"}, Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: nodeidentity.SignerName}},
		"another signer": {ObjectMeta: metav1.ObjectMeta{Name: "other", Annotations: map[string]string{"edgekit.io/node": "edge-1"}},
			Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: "example.com/x", Request: []byte(a.CSR)}},
	} {
		if _, err := client.CertificatesV1().CertificateSigningRequests().Create(t.Context(), csr, metav1.CreateOptions{}); err != nil {
			t.Fatal(name, err)
		}
	}
	w, err := s.Decide(t.Context(), "edge-1", a.KeyHash[:8], nodeidentity.Approve)
	if err != nil || w.Machine != "serial 7" || w.Address != "192.0.2.7" || w.Token != "abc" || w.KeyHash != a.KeyHash {
		t.Errorf("%+v, %v", w, err)
	}
	if _, err := s.Decide(t.Context(), "edge-1", "", nodeidentity.Deny); !errors.Is(err, nodeidentity.ErrNotWaiting) {
		t.Error("decided twice:", err)
	}
}

// TestReasons: a machine whose key was revoked gets the reason.
func TestReasons(t *testing.T) {
	s := newStore(t, controllertest.NewClientset())
	for why, want := range map[nodeidentity.Reason]error{
		nodeidentity.ReasonRevoked: join.ErrRevoked, nodeidentity.ReasonRetired: join.ErrRetired,
		nodeidentity.ReasonReplaced: join.ErrReplaced, nodeidentity.ReasonDenied: join.ErrDenied, "other": join.ErrRevoked,
	} {
		sum := sha256.Sum256([]byte(why))
		key := hex.EncodeToString(sum[:])
		if _, err := s.Claim(t.Context(), "edge-1", key); err != nil {
			t.Fatal(err)
		}
		gone, err := s.RevokeBecause(t.Context(), "edge-1", why)
		if err != nil || gone.Reason != why {
			t.Errorf("%q: %+v, %v", why, gone, err)
		}
		if err := s.Revoked(t.Context(), key); err == nil || err.Error() != want.Error() || !errors.Is(err, join.ErrRevoked) {
			t.Errorf("%q: %v", why, err)
		}
	}
}

// TestCertificateStats counts nodes by when their certificates end.
func TestCertificateStats(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	ca, err := join.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for node, life := range map[string]time.Duration{"long-1": 1000 * time.Hour, "long-2": 1000 * time.Hour, "soon": 24 * time.Hour, "over": time.Minute} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ca.IssueNode(key.Public(), node, time.Now(), life)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Claim(t.Context(), node, join.KeyHash(cert)); err != nil {
			t.Fatal(err)
		}
		if err := s.Issued(t.Context(), node, cert, "pin"); err != nil {
			t.Fatal(err)
		}
	}
	applied(t, s, "waits")
	w, err := s.Watch(nodeidentity.WatchConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, nodeidentity.Changes{Names: func(string, []string) {}}) }()
	<-w.Synced()
	if got, want := w.Certificates(time.Now().Add(time.Hour)), (nodeidentity.CertificateStats{Valid: 2, Ending: 1, Ended: 1, Waiting: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
