package nodeidentity_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

func newCA(t *testing.T) *join.CA {
	t.Helper()
	ca, err := join.NewCA("given", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func TestGivenAuthority(t *testing.T) {
	client := controllertest.NewClientset()
	s, ctx := newStore(t, client), t.Context()
	given := newCA(t)
	for range 2 { // it may be given again
		a, err := s.Import(ctx, given)
		if err != nil || a.Issuer.Pin() != given.Pin() {
			t.Fatal(err)
		}
	}
	if a, err := s.Authorities(ctx); err != nil || a.Issuer.Pin() != given.Pin() {
		t.Error("left out later:", err)
	}
	if _, err := s.Import(ctx, newCA(t)); err == nil || !strings.Contains(err.Error(), "edgectl ca rotate publish") {
		t.Error("another one was taken:", err)
	}
	old, err := join.NewCA("old", time.Now().Add(-2*join.DefaultCALife))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Import(ctx, old); !errors.Is(err, join.ErrCA) {
		t.Error("one that has expired was taken:", err)
	}
}

// TestAuthorityInASecret: an operator, or cert-manager, has made the Secret.
func TestAuthorityInASecret(t *testing.T) {
	given := newCA(t)
	key, err := given.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "edgekit-system", Name: nodeidentity.CAName},
		Data:       map[string][]byte{"tls.crt": given.CertificatePEM(), "tls.key": key},
	}
	client := controllertest.NewClientset(secret)
	a, err := newStore(t, client).Authorities(t.Context())
	if err != nil || a.Issuer.Pin() != given.Pin() {
		t.Fatal(err)
	}
	got, err := client.CoreV1().Secrets("edgekit-system").Get(t.Context(), nodeidentity.CAName, metav1.GetOptions{})
	if err != nil || got.Labels[nodeidentity.KindLabel] != nodeidentity.KindCA {
		t.Error("those who watch do not see it:", err)
	}
	broken := secret.DeepCopy()
	broken.Data["tls.key"] = []byte("x")
	if _, err := newStore(t, controllertest.NewClientset(broken)).Authorities(t.Context()); !errors.Is(err, join.ErrCA) || !strings.Contains(err.Error(), nodeidentity.CAName) {
		t.Error(err)
	}
}

// TestWatcher: a program learns what another one has changed.
func TestWatcher(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	ctx, cancel := context.WithCancel(t.Context())
	first, err := s.Authorities(ctx)
	if err != nil {
		t.Fatal(err)
	}
	issuers, keys := make(chan string, 16), make(chan string, 16)
	w, err := s.Watch(nodeidentity.WatchConfig{})
	changes := nodeidentity.Changes{
		Authorities: func(a join.Authorities) { issuers <- a.Issuer.Pin() },
		Revoked:     func(key string, revoked bool) { keys <- map[bool]string{true: "+", false: "-"}[revoked] + key },
	}
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.Run(ctx, changes) })
	defer wg.Wait()
	defer cancel()
	<-w.Synced()
	if got := <-issuers; got != first.Issuer.Pin() {
		t.Error("at first", got)
	}
	next := newCA(t)
	if _, err := s.Rotate(ctx, func(a join.Authorities) (join.Authorities, error) { return a.Publish(next, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(ctx, join.Authorities.Switch); err != nil {
		t.Fatal(err)
	}
	for got := ""; got != next.Pin(); got = <-issuers {
	}
	if _, err := s.Rotate(ctx, join.Authorities.Switch); !errors.Is(err, join.ErrStage) {
		t.Error("switched twice:", err)
	}
	key := strings.Repeat("ab", 32)
	if _, err := s.Claim(ctx, "n", key); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RevokeNode(ctx, "n", ""); err != nil {
		t.Fatal(err)
	}
	if got := <-keys; got != "+"+key {
		t.Error(got)
	}
	err = client.CoreV1().Secrets("edgekit-system").Delete(ctx, "edgekit-revoked-"+key, metav1.DeleteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := <-keys; got != "-"+key {
		t.Error(got)
	}
}

func TestRevokeNode(t *testing.T) {
	s, ctx := newStore(t, controllertest.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})), t.Context()
	if _, err := s.RevokeNode(ctx, "n", ""); !errors.Is(err, nodeidentity.ErrNotClaimed) {
		t.Error("revoked nothing:", err)
	}
	if _, err := s.RevokeNode(ctx, "other", "not a hash"); err == nil {
		t.Error("revoked what is no hash")
	}
	k1, k2, k3 := strings.Repeat("1a", 32), strings.Repeat("2b", 32), strings.Repeat("3c", 32)
	// k1 joined as m, was released, and is revoked by its hash after that.
	if _, err := s.Claim(ctx, "m", k1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReleaseNode(ctx, "m"); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoked(ctx, k1); err != nil {
		t.Error("a released key is not a revoked one:", err)
	}
	if _, err := s.Claim(ctx, "m", k2); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RevokeNode(ctx, "m", k1); err != nil {
		t.Fatal(err)
	}
	if holder, err := s.Holder(ctx, "m"); err != nil || holder != k2 {
		t.Errorf("the new holder of the name lost it to the old one: %q, %v", holder, err)
	}
	// k2 is revoked; the machine joins again as k3, which is valid.
	for range 2 { // as after a crash in the middle
		if _, err := s.RevokeNode(ctx, "m", k2); err != nil {
			t.Fatal(err)
		}
	}
	if holder, err := s.Holder(ctx, "m"); err != nil || holder != "" {
		t.Errorf("the name was not freed: %q, %v", holder, err)
	}
	if fresh, err := s.Claim(ctx, "m", k3); err != nil || !fresh {
		t.Error(err)
	}
	for key, want := range map[string]error{k1: join.ErrRevoked, k2: join.ErrRevoked, k3: nil} {
		if err := s.Revoked(ctx, key); !errors.Is(err, want) {
			t.Errorf("%s: %v", key, err)
		}
	}
	list, err := s.ListNodes(ctx)
	if err != nil || len(list) != 3 || list[0].KeyHash != k3 || list[1].Revoked.IsZero() || list[2].Revoked.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestLedger: the store knows which authority has signed which node's certificate.
func TestLedger(t *testing.T) {
	s, ctx := newStore(t, controllertest.NewClientset()), t.Context()
	ca := newCA(t)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueNode(key.Public(), "n", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Issued(ctx, "n", cert, ca.Pin()); err != nil {
		t.Error("a name that was freed meanwhile:", err)
	}
	if _, err := s.Claim(ctx, "n", join.KeyHash(cert)); err != nil {
		t.Fatal(err)
	}
	if behind, err := s.Behind(ctx, ca.Pin()); err != nil || len(behind) != 1 {
		t.Error("unknown counts as behind:", behind, err)
	}
	if err := s.Issued(ctx, "n", cert, ca.Pin()); err != nil {
		t.Fatal(err)
	}
	if behind, err := s.Behind(ctx, ca.Pin()); err != nil || len(behind) != 0 {
		t.Error(behind, err)
	}
	if behind, err := s.Behind(ctx, "another"); err != nil || len(behind) != 1 || !behind[0].Until.Equal(cert.NotAfter) {
		t.Error(behind, err)
	}
}
