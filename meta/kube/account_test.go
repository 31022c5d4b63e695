package kube_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/kube"
)

// TestServiceAccountOffline: without a link there is what the cloud said last, also after a
// restart, until the cloud says that the account is gone or a pod that has it is.
func TestServiceAccountOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		synctest.Wait() // Run has swept: it would forget an account before its pod is there
		body, cloudErr := `{"metadata":{"namespace":"a","name":"robot","uid":"u-1","annotations":{"role":"reader"}}}`, error(nil)
		s.m.answer = func(q meta.Object) (meta.Object, error) { return meta.Object{Key: q.Key, Body: []byte(body)}, cloudErr }
		want := func(when, uid string, wantErr error) {
			t.Helper()
			got, err := s.ServiceAccount(t.Context(), "a", "robot")
			switch {
			case wantErr != nil && !errors.Is(err, wantErr):
				t.Errorf("%s: %v, want %v", when, err, wantErr)
			case wantErr == nil && (err != nil || string(got.UID) != uid || got.Annotations["role"] != "reader"):
				t.Errorf("%s: %+v, %v, want the uid %s", when, got, err, uid)
			}
		}
		cloudErr = errOffline
		want("never read", "", errOffline)
		cloudErr = nil
		want("at first", "u-1", nil)
		cloudErr = errOffline
		want("offline", "u-1", nil)
		body, cloudErr = `{"metadata":{"namespace":"a","name":"robot","uid":"u-2","annotations":{"role":"reader"}}}`, nil
		want("made anew", "u-2", nil)
		cloudErr = errOffline
		want("offline again", "u-2", nil)

		// Another client on the same store: one that no pod has is forgotten.
		keys := func() int {
			t.Helper()
			all, _, err := s.store.Keys(t.Context(), meta.Local+"accounts/")
			must(t, err)
			return len(all)
		}
		user := pod("web", "i")
		user.Spec.ServiceAccountName = "robot"
		s.put(t, "pods", "a", "web", user)
		restart := func() {
			t.Helper()
			c, err := kube.New(kube.Config{Store: s.store, Manager: s.m, Node: "gate-7"})
			must(t, err)
			runOnce(t, c)
		}
		restart()
		if n := keys(); n != 1 {
			t.Errorf("%d accounts are kept for one pod", n)
		}
		s.drop(t, "pods/a/web")
		restart()
		if n := keys(); n != 0 {
			t.Errorf("%d accounts are kept for no pod", n)
		}

		cloudErr = nil
		want("back again", "u-2", nil)
		cloudErr = meta.ErrNotFound
		want("deleted", "", meta.ErrNotFound)
		cloudErr = errOffline
		want("offline after that", "", errOffline)
	})
}

// runOnce runs a Client until it has nothing to do.
func runOnce(t *testing.T, c *kube.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	synctest.Wait()
	cancel()
	must(t, <-done)
}
