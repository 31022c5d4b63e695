package nodeidentity_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
)

// TestLife: the life of a node's certificates is that of its label, else that of its token.
func TestLife(t *testing.T) {
	client := controllertest.NewClientset()
	s := newStore(t, client)
	if _, err := s.Authorities(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(want time.Duration, fails string) {
		t.Helper()
		got, err := s.Life(t.Context(), "edge-1")
		if got != want || (err != nil) != (fails != "") || err != nil && !strings.Contains(err.Error(), fails) {
			t.Errorf("%s, %v, want %s", got, err, want)
		}
	}
	check(0, "")
	token, err := s.RequestToken(t.Context(), nodeidentity.TokenRequest{Nodes: "edge-1", TTL: time.Hour, Approve: true, Life: 48 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Token(t.Context(), token.ID)
	if err != nil || !r.Approve || r.Life != 48*time.Hour {
		t.Errorf("%+v, %v", r, err)
	}
	key := strings.Repeat("a", 64)
	if _, err := s.Claim(t.Context(), "edge-1", key); err != nil {
		t.Fatal(err)
	}
	check(0, "")
	for range 2 {
		if err := s.Use(t.Context(), token.ID, "edge-1", key); err != nil {
			t.Fatal(err)
		}
		check(48*time.Hour, "")
	}
	for label, want := range map[string]struct {
		life  time.Duration
		fails string
	}{"720h": {720 * time.Hour, ""}, "30d": {0, nodeidentity.LifeLabel}, "0s": {0, "above zero"}} {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "edge-1", Labels: map[string]string{nodeidentity.LifeLabel: label}}}
		if _, err := client.CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		check(want.life, want.fails)
		if err := client.CoreV1().Nodes().Delete(t.Context(), "edge-1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.ReleaseNode(t.Context(), "edge-1"); err != nil {
		t.Fatal(err)
	}
	check(0, "")
	if _, err := s.RequestToken(t.Context(), nodeidentity.TokenRequest{Nodes: "edge-1", TTL: time.Hour, Life: -1}); err == nil {
		t.Error("a life below zero")
	}
}
