package manager_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

var cfgMap = hub.Key{Resource: "configmaps", Namespace: "a", Name: "c"}

func query(t *testing.T, m *manager.Manager, body string) (string, error) {
	t.Helper()
	o, err := m.Query(t.Context(), meta.Object{Key: meta.Key(cfgMap), Body: []byte(body)})
	return string(o.Body), err
}

func wantAnswer(t *testing.T, m *manager.Manager, want string) {
	t.Helper()
	if got, err := query(t, m, ""); err != nil || got != want {
		t.Errorf("Query: %q, %v, want %q", got, err, want)
	}
}

func TestQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cloud{}
		m := newManager(t, manager.Config{Caller: c})
		if _, err := query(t, m, ""); !errors.Is(err, manager.ErrOffline) || c.calls() != 0 {
			t.Errorf("before the link stood: %v, %d calls", err, c.calls())
		}
		c.set(cfgMap, "1", nil)
		connect(t, m, true)
		wantAnswer(t, m, "1")
		c.set(cfgMap, "2", nil)
		time.Sleep(59 * time.Second)
		wantAnswer(t, m, "1") // fresh
		time.Sleep(2 * time.Second)
		wantAnswer(t, m, "2")

		connect(t, m, false)
		time.Sleep(1000 * time.Hour)
		calls := c.calls()
		wantAnswer(t, m, "2")
		if c.calls() != calls {
			t.Error("the cloud was asked while offline")
		}

		connect(t, m, true)
		for _, err := range []error{errLink, peerError(hub.CodeUnavailable), peerError(hub.CodeDeadline), peerError(hub.CodeUnknown)} {
			c.set(cfgMap, "3", err)
			wantAnswer(t, m, "2") // an old answer is better than none
		}
		c.set(cfgMap, "3", peerError(hub.CodeForbidden))
		if _, err := query(t, m, ""); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Errorf("a refusal: %v", err)
		}
		c.set(cfgMap, "3", peerError(hub.CodeNotFound))
		if _, err := query(t, m, ""); !errors.Is(err, meta.ErrNotFound) {
			t.Errorf("an object that is gone: %v", err)
		}
		connect(t, m, false)
		time.Sleep(1000 * time.Hour)
		if _, err := query(t, m, ""); !errors.Is(err, meta.ErrNotFound) || errors.Is(err, manager.ErrOffline) {
			t.Errorf("what was gone when the cloud was last asked: %v", err)
		}
		connect(t, m, true)
		c.set(cfgMap, "4", nil)
		wantAnswer(t, m, "4") // "not found" is never fresh
	})
}

// TestQueryOfWhatTheCloudPutHere: such an object is never asked for, since the link keeps
// it fresh.
func TestQueryOfWhatTheCloudPutHere(t *testing.T) {
	c := &cloud{}
	m := newManager(t, manager.Config{Caller: c})
	must(t, m.Down().Apply(t.Context(), []hub.Object{{Key: cfgMap, Version: "1", Body: []byte("mirror")}}))
	wantAnswer(t, m, "mirror")
	connect(t, m, true)
	wantAnswer(t, m, "mirror")
	if c.calls() != 0 {
		t.Errorf("the cloud was asked %d times", c.calls())
	}
}

// TestQueryForAction: a query with a body always asks the cloud, and the answer is not
// stored.
func TestQueryForAction(t *testing.T) {
	c := &cloud{}
	c.set(cfgMap, "token for ", nil)
	m := newManager(t, manager.Config{Caller: c})
	connect(t, m, true)
	for i := range 2 {
		if got, err := query(t, m, "me"); err != nil || got != "token for me" || c.calls() != i+1 {
			t.Errorf("Query: %q, %v after %d calls", got, err, c.calls())
		}
	}
	connect(t, m, false)
	if _, err := query(t, m, "me"); !errors.Is(err, manager.ErrOffline) {
		t.Errorf("offline: %v", err)
	}
}

func TestConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		m := newManager(t, manager.Config{Store: store})
		changes := m.Connections(t.Context())
		if info := <-changes; info.Connected || info.Node != "gate-7" || info.Reason == "" {
			t.Errorf("at first: %+v", info)
		}
		at := time.Now()
		must(t, m.NodeConnection(t.Context(), hub.Info{Connected: true, Since: at, Epoch: 5}))
		must(t, m.NodeConnection(t.Context(), hub.Info{Connected: false, Since: at, Epoch: 4})) // of a session that was fenced
		if info := <-changes; !info.Connected || info.Epoch != 5 {
			t.Errorf("connected: %+v", info)
		}
		must(t, m.NodeConnection(t.Context(), hub.Info{Connected: false, Since: at.Add(time.Hour), Epoch: 5, Reason: "cut"}))
		if info := <-changes; info.Connected || info.Reason != "cut" {
			t.Errorf("cut off: %+v", info)
		}

		m = newManager(t, manager.Config{Store: store}) // a restart
		stop := run(t, m)
		synctest.Wait()
		if info := m.Connection(); info.Connected || !info.Since.Equal(at.Add(time.Hour)) {
			t.Errorf("after a restart: %+v", info)
		}
		stop()
	})
}

// TestOperations performs MetaManager's seven operations, and checks what waits for the
// cloud after each, and the answer to a query.
func TestOperations(t *testing.T) {
	c := &cloud{}
	c.set(cfgMap, "from the cloud", nil)
	m := newManager(t, manager.Config{Caller: c})
	ctx := t.Context()
	node := meta.Key{Resource: "nodes", Name: "gate-7"}
	secret := meta.Key{Resource: "secrets", Namespace: "a", Name: "s"}
	query := func(key meta.Key) (string, error) {
		o, err := m.Query(ctx, meta.Object{Key: key})
		return string(o.Body), err
	}
	c.set(hub.Key(secret), "kept", nil)
	both := []string{"nodes//gate-7", "pods/a/p"}
	for _, s := range []struct {
		operation hub.Operation
		do        func() error
		pending   []string
	}{
		{hub.Insert, func() error { return m.Insert(ctx, meta.Object{Key: node, Body: []byte("1")}) }, both[:1]},
		{hub.Update, func() error { return m.Update(ctx, meta.Object{Key: node, Body: []byte("2")}) }, both[:1]},
		{hub.Delete, func() error {
			return m.Delete(ctx, meta.Object{Key: meta.Key{Resource: "pods", Namespace: "a", Name: "p"}})
		}, both},
		{hub.NodeConnection, func() error { return m.NodeConnection(ctx, hub.Info{Connected: true, Epoch: 3}) }, both},
		{hub.MetaSync, func() error { return m.MetaSync(ctx, meta.Key{}) }, both},
		{hub.Query, func() error { _, err := query(secret); return err }, both},
	} {
		if err := s.do(); err != nil {
			t.Errorf("%s: %v", s.operation, err)
		}
		wantPending(t, m, s.pending...)
	}
	if !m.Connection().Connected {
		t.Error("NodeConnection was not taken")
	}
	if body, err := query(meta.Key(cfgMap)); err != nil || body != "from the cloud" {
		t.Errorf("Query: %q, %v", body, err)
	}
	if err := m.Update(ctx, meta.Object{}); !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
		t.Errorf("Update without a key: %v, want code invalid", err)
	}
	none := meta.Key{Resource: "secrets", Namespace: "a", Name: "none"}
	if _, err := query(none); !errors.Is(err, &hub.Error{Code: hub.CodeNotFound}) || !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("Query of what does not exist: %v", err)
	}
	// The Response to each query is kept.
	must(t, m.NodeConnection(ctx, hub.Info{Epoch: 3}))
	if body, err := query(secret); err != nil || body != "kept" {
		t.Errorf("Query of a kept Response: %q, %v", body, err)
	}
	if _, err := query(none); !errors.Is(err, meta.ErrNotFound) {
		t.Errorf("Query of a kept absence: %v", err)
	}
	if _, err := query(meta.Key{Resource: "secrets", Namespace: "a", Name: "never asked"}); !errors.Is(err, manager.ErrOffline) {
		t.Errorf("Query offline: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, cfg := range []manager.Config{{}, {Node: "n"}, {Store: memstore.New()}, {Store: memstore.New(), Node: "n", MaxState: -1}} {
		if _, err := manager.New(cfg); err == nil {
			t.Errorf("New(%+v) succeeded", cfg)
		}
	}
}

// TestStaleness asks how far answers may be from what the cloud has.
func TestStaleness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		defer store.Close()
		c := &cloud{}
		c.set(cfgMap, "1", nil)
		m := newManager(t, manager.Config{Store: store, Caller: c})
		pod := hub.Key{Resource: "pods", Namespace: "a", Name: "p"}
		stale := func(key hub.Key) (age, unconfirmed time.Duration) {
			o, err := m.Query(t.Context(), meta.Object{Key: meta.Key(key)})
			must(t, err)
			return time.Since(o.Stored), time.Since(o.Confirmed)
		}
		connect(t, m, true)
		must(t, m.Down().Apply(t.Context(), []hub.Object{{Key: pod, Version: "1", Body: []byte("{}")}}))
		if age, un := stale(cfgMap); age != 0 || un != 0 {
			t.Errorf("just asked: %s old, not confirmed for %s", age, un)
		}
		time.Sleep(time.Hour)
		if age, un := stale(pod); age != time.Hour || un != 0 {
			t.Errorf("the link keeps it: %s old, not confirmed for %s", age, un)
		}
		connect(t, m, false)
		time.Sleep(time.Hour)
		if age, un := stale(pod); age != 2*time.Hour || un != time.Hour {
			t.Errorf("an hour after the link went: %s old, not confirmed for %s", age, un)
		}
		if age, un := stale(cfgMap); age != 2*time.Hour || un != 2*time.Hour {
			t.Errorf("a kept answer: %s old, not confirmed for %s", age, un)
		}
		if s := m.Stats(); s.QueriesLocal != 3 || s.QueriesCloud != 1 || s.QueriesStale != 1 {
			t.Errorf("counted %+v", s)
		}
	})
}
