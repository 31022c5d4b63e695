package devices_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// slow is a store whose next write that matches waits for proceed.
type slow struct {
	meta.Store
	match   func(meta.Op) bool
	proceed chan struct{}
}

func (s *slow) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	for _, op := range ops {
		if s.match != nil && s.match(op) {
			s.match = nil
			<-s.proceed
			break
		}
	}
	return s.Store.Apply(ctx, ops...)
}

// TestStoreOrder has two writes about one pod at the same time: the later one counts.
func TestStoreOrder(t *testing.T) {
	records := func(t *testing.T, s meta.Store) string {
		all, _, err := s.List(t.Context(), meta.Local+"devices/pods/")
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range all {
			out = append(out, strings.TrimPrefix(r.Key, meta.Local+"devices/pods/"))
		}
		return strings.Join(out, " ")
	}
	none := func(string) bool { return false }
	t.Run("a pod ends while its record is written", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &slow{Store: memstore.New(), match: func(op meta.Op) bool { return !op.Delete }, proceed: make(chan struct{})}
			m, done := newManager(t, s), make(chan error, 2)
			connect(t, m, devices.Options{}, "a")
			p := pod("p", "c=1")
			go func() { done <- admit(t, m, p) }()
			synctest.Wait()
			m.Release(none)
			go func() { done <- m.Flush(t.Context()) }()
			synctest.Wait()
			close(s.proceed)
			if err := errors.Join(<-done, <-done, m.Flush(t.Context())); err != nil {
				t.Error(err)
			}
			if got := records(t, s); got != "" {
				t.Errorf("records of %q stay, whose devices others may have", got)
			}
		})
	})
	t.Run("a pod comes back while its record is removed", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &slow{Store: memstore.New(), match: func(op meta.Op) bool { return op.Delete }, proceed: make(chan struct{})}
			m, done := newManager(t, s), make(chan error, 2)
			connect(t, m, devices.Options{}, "a")
			p := pod("p", "c=1")
			if err := admit(t, m, p); err != nil {
				t.Fatal(err)
			}
			m.Release(none)
			go func() { done <- m.Flush(t.Context()) }()
			synctest.Wait()
			go func() { done <- admit(t, m, p) }()
			synctest.Wait()
			close(s.proceed)
			if err := errors.Join(<-done, <-done); err != nil {
				t.Error(err)
			}
			if got := has(newManager(t, s), p); got != "c:a" {
				t.Errorf("after a crash the pod has %q", got)
			}
		})
	})
}
