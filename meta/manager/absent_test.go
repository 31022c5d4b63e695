package manager_test

import (
	"errors"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestAbsent checks step by step which objects are known not to exist.
func TestAbsent(t *testing.T) {
	store := memstore.New()
	defer store.Close()
	c := &cloud{}
	m := newManager(t, manager.Config{Store: store, Caller: c})
	want := func(want bool, since uint64, when string) {
		t.Helper()
		if got, err := m.Absent(t.Context(), meta.Key(cfgMap), since); err != nil || got != want {
			t.Errorf("%s: %t, %v", when, got, err)
		}
	}
	now := func() uint64 {
		t.Helper()
		at, err := store.Apply(t.Context())
		must(t, err)
		return at
	}
	bring := func(o hub.Object) {
		t.Helper()
		o.Key = cfgMap
		must(t, m.Down().Apply(t.Context(), []hub.Object{o}))
	}
	want(false, 0, "at first")
	connect(t, m, true)
	if _, err := query(t, m, ""); !errors.Is(err, meta.ErrNotFound) {
		t.Fatal(err)
	}
	at := now()
	want(true, 0, "the cloud said so")
	want(true, at, "of a pod that came with the answer")
	want(false, at+1, "of a pod that came after the answer")
	connect(t, m, false)
	want(true, at+1, "offline, of a pod that came after the answer")
	connect(t, m, true)
	want(false, 0, "over a later link")
	bring(hub.Object{Deleted: true, Body: meta.NotFoundBody()})
	want(true, 0, "the cloud says so by itself")
	bring(hub.Object{Version: "7", Body: []byte("there")})
	want(false, 0, "it was made")
	wantKeys(t, store, "local/manager/answers/")
	bring(hub.Object{Deleted: true})
	want(false, 0, "this node need not have it")
	connect(t, m, false)
	want(false, 0, "this node need not have it, offline")
	if _, err := query(t, m, ""); !errors.Is(err, manager.ErrOffline) {
		t.Errorf("not needed, offline: %v", err)
	}
	if _, err := m.Absent(t.Context(), meta.Key{Resource: "secrets", Name: "a/b"}, 0); !errors.Is(err, &hub.Error{Code: hub.CodeInvalid}) {
		t.Errorf("a key that cannot be stored: %v", err)
	}
}

// TestDownReplacesKeptAnswers: an answer from before the cloud put the object here must
// not be used again when the object is deleted.
func TestDownReplacesKeptAnswers(t *testing.T) {
	c := &cloud{}
	c.set(cfgMap, "answer", nil)
	m := newManager(t, manager.Config{Caller: c})
	connect(t, m, true)
	wantAnswer(t, m, "answer")
	must(t, m.Down().Apply(t.Context(), []hub.Object{{Key: cfgMap, Version: "1", Body: []byte("mirror")}}))
	must(t, m.Down().Apply(t.Context(), []hub.Object{{Key: cfgMap, Deleted: true}}))
	connect(t, m, false)
	if got, err := query(t, m, ""); !errors.Is(err, manager.ErrOffline) {
		t.Errorf("what the cloud deleted: %q, %v", got, err)
	}
}
