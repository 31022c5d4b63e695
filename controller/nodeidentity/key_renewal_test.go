package nodeidentity_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

// TestReplace follows the keys of one name through renewals.
func TestReplace(t *testing.T) {
	client := controllertest.NewClientset(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	s, ctx := newStore(t, client), t.Context()
	k := func(c string) string { return strings.Repeat(c, 64) }
	keys := func(want ...string) {
		t.Helper()
		if got, err := s.Keys(ctx, "n"); err != nil || !slices.Equal(got, want) {
			t.Errorf("keys %v, %v; want %v", got, err, want)
		}
	}
	replace := func(old, fresh string, want error) {
		t.Helper()
		if err := s.Replace(ctx, "n", old, fresh); !errors.Is(err, want) {
			t.Errorf("replace: %v, want %v", err, want)
		}
	}
	confirm := func(key string) {
		t.Helper()
		if err := s.Confirm(ctx, "n", key); err != nil {
			t.Error(err)
		}
	}
	replace(k("1"), k("2"), join.ErrIdentity) // nobody has the name
	if _, err := client.CoreV1().Secrets("edgekit-system").Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "edgekit-node-n", Labels: map[string]string{nodeidentity.KindLabel: nodeidentity.KindNode}},
		Data:       map[string][]byte{"node": []byte("n"), "keyHash": []byte(k("1"))},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(ctx, "n", k("1"), "no hash"); err == nil {
		t.Error("what is no hash has the name")
	}
	keys(k("1"))
	replace(k("9"), k("2"), join.ErrIdentity)
	for range 2 { // the answer was lost
		replace(k("1"), k("2"), nil)
		keys(k("2"), k("1"))
	}
	confirm(k("1")) // the old one proves nothing
	keys(k("2"), k("1"))
	if fresh, err := s.Claim(ctx, "n", k("1")); fresh || err != nil {
		t.Error("the old key lost the name before the new one was used:", err)
	}
	confirm(k("2"))
	keys(k("2"))
	replace(k("1"), k("3"), join.ErrIdentity)
	replace(k("2"), k("3"), nil)
	replace(k("3"), k("4"), nil) // used without having been confirmed
	keys(k("4"), k("3"))
	if freed, err := s.Freed(ctx, "n"); freed || err != nil {
		t.Error("freed:", freed, err)
	}
	if _, err := s.ReleaseNode(ctx, "n"); err != nil {
		t.Fatal(err)
	}
	keys()
	if freed, err := s.Freed(ctx, "n"); !freed || err != nil {
		t.Error("freed:", freed, err)
	}
	if freed, err := s.Freed(ctx, "new"); freed || err != nil {
		t.Error("a name that nobody had counts as freed:", err)
	}
	for _, key := range []string{k("3"), k("4")} {
		replace(key, k("5"), join.ErrIdentity)
	}
}

// TestReplaceAtOnce has many renewals of one key at once: one name, two keys.
func TestReplaceAtOnce(t *testing.T) {
	s, ctx := newStore(t, controllertest.NewClientset()), t.Context()
	if _, err := s.Claim(ctx, "n", strings.Repeat("0", 64)); err != nil {
		t.Fatal(err)
	}
	var g errgroup.Group
	for _, c := range "1234" {
		g.Go(func() error { return s.Replace(ctx, "n", strings.Repeat("0", 64), strings.Repeat(string(c), 64)) })
	}
	_ = g.Wait() // a caller that lost too often gets an ErrServer, and may ask again
	if keys, err := s.Keys(ctx, "n"); err != nil || len(keys) != 2 || keys[1] != strings.Repeat("0", 64) {
		t.Error(keys, err)
	}
}

// TestWatcherNames: every cloudcore learns which key has which name.
func TestWatcherNames(t *testing.T) {
	s := newStore(t, controllertest.NewClientset())
	ctx, cancel := context.WithCancel(t.Context())
	k1, k2 := strings.Repeat("1", 64), strings.Repeat("2", 64)
	if _, err := s.Claim(ctx, "n", k1); err != nil {
		t.Fatal(err)
	}
	heard := make(chan string, 16)
	w, err := s.Watch(nodeidentity.WatchConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = w.Run(ctx, nodeidentity.Changes{Names: func(node string, keys []string) { heard <- node + "=" + strings.Join(keys, ",") }})
	})
	defer wg.Wait()
	defer cancel()
	<-w.Synced()
	for _, step := range []struct {
		do   func() error
		want string
	}{
		{func() error { return nil }, "n=" + k1},
		{func() error { return s.Replace(ctx, "n", k1, k2) }, "n=" + k2 + "," + k1},
		{func() error { return s.Confirm(ctx, "n", k2) }, "n=" + k2},
		{func() error { _, err := s.ReleaseNode(ctx, "n"); return err }, "n="},
	} {
		if err := step.do(); err != nil {
			t.Fatal(err)
		}
		if got := <-heard; got != step.want {
			t.Errorf("heard %s, want %s", got, step.want)
		}
	}
}
