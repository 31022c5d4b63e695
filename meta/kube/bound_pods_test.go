package kube_test

import (
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
)

// TestBound: the cloud is asked until the store has held all pods that it names, and the
// store answers from then on.
func TestBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		defer s.stop()
		var mu sync.Mutex // guards err and asked: Run asks as well
		bound, err, asked := []types.UID{"uid-x", "uid-y"}, error(nil), 0
		cloud := func(e error) {
			mu.Lock()
			defer mu.Unlock()
			err = e
		}
		times := func() int {
			mu.Lock()
			defer mu.Unlock()
			return asked
		}
		s.m.answer = func(q meta.Object) (meta.Object, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			if q.Key.Resource != "nodes/pods" || len(q.Body) == 0 {
				t.Errorf("asked %+v", q)
			}
			body, _ := json.Marshal(bound)
			return meta.Object{Body: body}, err
		}
		synced := func() bool {
			synctest.Wait()
			is, err := meta.Synced(t.Context(), s.store)
			must(t, err)
			return is
		}
		s.put(t, "pods", "a", "x", pod("x", "1"))
		cloud(errOffline)
		if got, err := s.Bound(t.Context()); !errors.Is(err, errOffline) {
			t.Errorf("offline: %v, %v", got, err)
		}
		s.Refresh()
		cloud(nil)
		if got, err := s.Bound(t.Context()); err != nil || len(got) != 2 {
			t.Errorf("the cloud says %v, %v", got, err)
		}
		time.Sleep(time.Minute)
		if synced() {
			t.Error("marked while a pod was missing")
		}
		s.put(t, "pods", "a", "y", pod("y", "1"))
		time.Sleep(time.Minute)
		if !synced() {
			t.Error("not marked though all pods are there")
		}
		s.drop(t, "pods/a/y")
		before := times()
		got, err := s.Bound(t.Context())
		if err != nil || !slices.Equal(got, []types.UID{"uid-x"}) || times() != before {
			t.Errorf("a whole store says %v, %v, and asked %d times", got, err, times()-before)
		}
	})
}
