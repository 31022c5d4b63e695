package hubtest

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/hub"
)

// SourceSuite gives RunSource an implementation of hub.Source.
type SourceSuite struct {
	// Open makes an empty Source; it is closed with t's cleanups.
	Open func(t *testing.T) hub.Source
	// Put sets the body of an object of a Source that Open made, and Delete deletes it.
	// The change is made, though not necessarily notified, when they return.
	Put    func(ctx context.Context, s hub.Source, key hub.Key, body string) error
	Delete func(ctx context.Context, s hub.Source, key hub.Key) error
	// Key names the n-th object, for a Source that takes certain keys only; nil gives
	// settings/default/n.
	Key func(n int) hub.Key
}

func (s SourceSuite) key(n int) hub.Key {
	if s.Key != nil {
		return s.Key(n)
	}
	return hub.Key{Resource: "settings", Namespace: "default", Name: fmt.Sprint(n)}
}

// RunSource checks a Source against hub's contract: versions grow, Load and Versions
// agree on them, Load returns deleted objects as Deleted, subscribers are called until
// they stop, several goroutines may use it.
func RunSource(t *testing.T, s SourceSuite) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, SourceSuite)
	}{
		{"Versions", sourceVersions}, {"Load", sourceLoad}, {"Deleted", sourceDeleted}, {"Compare", sourceCompare},
		{"Subscribe", sourceSubscribe}, {"Concurrent", sourceConcurrent},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

func (s SourceSuite) put(t *testing.T, source hub.Source, n int, body string) {
	t.Helper()
	if err := s.Put(t.Context(), source, s.key(n), body); err != nil {
		t.Fatal(err)
	}
}

func (s SourceSuite) delete(t *testing.T, source hub.Source, n int) {
	t.Helper()
	if err := s.Delete(t.Context(), source, s.key(n)); err != nil {
		t.Fatal(err)
	}
}

// lister is the method that a Source and a Sink have in common.
type lister interface {
	Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error)
}

// listed is what Versions of a Source or Sink yields.
func listed(t *testing.T, s lister) map[hub.Key]string {
	t.Helper()
	all, err := s.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return maps.Collect(all)
}

func load(t *testing.T, source hub.Source, key hub.Key, held string) hub.Object {
	t.Helper()
	o, err := source.Load(t.Context(), key, held)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// sourceVersions: every object is listed, with the version that Load gives.
func sourceVersions(t *testing.T, s SourceSuite) {
	source := s.Open(t)
	if have := listed(t, source); len(have) != 0 {
		t.Fatalf("an empty source lists %v", have)
	}
	for n := range 3 {
		s.put(t, source, n, "body")
	}
	s.delete(t, source, 1)
	have := listed(t, source)
	for n, want := range []bool{true, false, true} {
		version, ok := have[s.key(n)]
		// A Source may list a deleted object until the peer has deleted it.
		if want && !ok {
			t.Errorf("object %d is not listed", n)
		}
		if ok && load(t, source, s.key(n), "").Deleted == want {
			t.Errorf("object %d is listed, and Load says deleted: %v", n, want)
		}
		if ok && want && load(t, source, s.key(n), "").Version != version {
			t.Errorf("object %d is listed with version %q, loaded with another", n, version)
		}
	}
}

// sourceLoad: Load gives the newest body, whatever the peer holds.
func sourceLoad(t *testing.T, s SourceSuite) {
	source := s.Open(t)
	s.put(t, source, 1, "first")
	first := load(t, source, s.key(1), "")
	s.put(t, source, 1, "second")
	for _, held := range []string{"", first.Version} {
		o := load(t, source, s.key(1), held)
		if string(o.Body) != "second" || o.Deleted {
			t.Errorf("with %q held, Load gave %q, deleted %v", held, o.Body, o.Deleted)
		}
		if source.Compare(o.Version, first.Version) <= 0 {
			t.Errorf("version %q came after %q and is not newer", o.Version, first.Version)
		}
	}
}

// sourceDeleted: an object that was deleted is loaded as deleted, and one that comes back
// is newer than what was deleted.
func sourceDeleted(t *testing.T, s SourceSuite) {
	source := s.Open(t)
	s.put(t, source, 1, "first")
	before := load(t, source, s.key(1), "")
	s.delete(t, source, 1)
	gone := load(t, source, s.key(1), before.Version)
	if !gone.Deleted {
		t.Fatalf("a deleted object was loaded as %+v", gone)
	}
	if gone.Version != "" && source.Compare(gone.Version, before.Version) < 0 {
		t.Errorf("the end has version %q, older than %q: it would never be sent", gone.Version, before.Version)
	}
	s.put(t, source, 1, "again")
	if again := load(t, source, s.key(1), ""); again.Deleted || source.Compare(again.Version, before.Version) <= 0 {
		t.Errorf("an object that came back has version %q after %q, deleted %v", again.Version, before.Version, again.Deleted)
	}
}

// sourceCompare: an order, with the empty version first.
func sourceCompare(t *testing.T, s SourceSuite) {
	source := s.Open(t)
	order := []string{""}
	for i := range 5 {
		s.put(t, source, 1, fmt.Sprint("body ", i)) // an equal body may get no new version
		order = append(order, load(t, source, s.key(1), "").Version)
	}
	for i, a := range order {
		for j, b := range order {
			if got := source.Compare(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("Compare(%q, %q) is %d", a, b, got)
			}
		}
	}
}

// sourceSubscribe: each change is notified to all who have subscribed, until they stop.
func sourceSubscribe(t *testing.T, s SourceSuite) {
	source := s.Open(t)
	s.put(t, source, 1, "before")
	first, second := make(chan hub.Key, 64), make(chan hub.Key, 64)
	stopFirst := source.Subscribe(func(k hub.Key) { first <- k })
	stopSecond := source.Subscribe(func(k hub.Key) { second <- k })
	defer stopSecond()
	await := func(calls chan hub.Key, n int) {
		t.Helper()
		for {
			select {
			case k := <-calls:
				if k == s.key(n) {
					return
				}
			case <-t.Context().Done():
				t.Fatalf("no call for object %d", n)
			}
		}
	}
	s.put(t, source, 2, "after")
	await(first, 2)
	await(second, 2)
	stopFirst()
	for len(first) > 0 {
		<-first
	}
	s.delete(t, source, 1)
	await(second, 1)
	if len(first) != 0 {
		t.Error("one that has stopped is called")
	}
}

// sourceConcurrent: all methods at the same time, for the race detector.
func sourceConcurrent(t *testing.T, s SourceSuite) {
	source := s.Open(t)
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Go(func() {
			for range 10 {
				stop := source.Subscribe(func(hub.Key) {})
				if err := s.Put(t.Context(), source, s.key(n), "body"); err != nil {
					t.Error(err)
				}
				if _, err := source.Load(t.Context(), s.key(n), ""); err != nil {
					t.Error(err)
				}
				if all, err := source.Versions(t.Context()); err != nil {
					t.Error(err)
				} else {
					for k, v := range all {
						source.Compare(v, k.Name)
					}
				}
				stop()
			}
		})
	}
	wg.Wait()
}

// SinkSuite gives RunSink an implementation of hub.Sink.
type SinkSuite struct {
	// Open makes an empty Sink; it is closed with t's cleanups.
	Open func(t *testing.T) hub.Sink
	// Held returns the body of an object that a Sink has applied, if it still has it; nil
	// for a Sink that passes objects on.
	Held func(ctx context.Context, s hub.Sink, key hub.Key) (body string, ok bool, err error)
	// Reopen ends a Sink as a crash would and opens what it kept; nil for one that keeps
	// nothing.
	Reopen func(t *testing.T, s hub.Sink) hub.Sink
	// Forgets is set for a Sink whose Versions lists nothing, on purpose.
	Forgets bool
	// Object makes an object that the Sink accepts: the n-th, in the given version. nil
	// makes settings/default/n with the body "n@version".
	Object func(n int, version string) hub.Object
}

func (s SinkSuite) object(n int, version string) hub.Object {
	if s.Object != nil {
		return s.Object(n, version)
	}
	return hub.Object{
		Key:     hub.Key{Resource: "settings", Namespace: "default", Name: fmt.Sprint(n)},
		Version: version, Body: fmt.Appendf(nil, "%d@%s", n, version),
	}
}

// RunSink checks a Sink against hub's contract: applied objects are listed with their
// version and stay, the last of several versions counts, deletes remove, and applying
// twice has no effect.
func RunSink(t *testing.T, s SinkSuite) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, SinkSuite)
	}{
		{"Apply", sinkApply}, {"Twice", sinkTwice}, {"Delete", sinkDelete}, {"Many", sinkMany}, {"Reopen", sinkReopen},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, s) })
	}
}

func apply(t *testing.T, sink hub.Sink, objects ...hub.Object) {
	t.Helper()
	if err := sink.Apply(t.Context(), objects); err != nil {
		t.Fatal(err)
	}
}

// want checks which objects a Sink lists and holds: want has their versions by number.
func (s SinkSuite) want(t *testing.T, sink hub.Sink, want map[int]string) {
	t.Helper()
	have := listed(t, sink)
	if s.Forgets {
		if len(have) != 0 {
			t.Errorf("a sink that forgets lists %v", have)
		}
	} else if len(have) != len(want) {
		t.Errorf("listed are %v, want the objects %v", have, slices.Sorted(maps.Keys(want)))
	}
	for n, version := range want {
		o := s.object(n, version)
		if !s.Forgets && have[o.Key] != version {
			t.Errorf("object %d is listed with version %q, want %q", n, have[o.Key], version)
		}
		if s.Held == nil {
			continue
		}
		body, ok, err := s.Held(t.Context(), sink, o.Key)
		if err != nil || !ok || body != string(o.Body) {
			t.Errorf("object %d is %q, %v, %v; want %q", n, body, ok, err, o.Body)
		}
	}
}

func sinkApply(t *testing.T, s SinkSuite) {
	sink := s.Open(t)
	s.want(t, sink, nil)
	apply(t, sink, s.object(1, "1"), s.object(2, "1"))
	apply(t, sink, s.object(1, "2"), s.object(3, "1"), s.object(1, "3"))
	s.want(t, sink, map[int]string{1: "3", 2: "1", 3: "1"})
}

func sinkTwice(t *testing.T, s SinkSuite) {
	sink := s.Open(t)
	for range 3 {
		apply(t, sink, s.object(1, "1"), s.object(2, "1"))
	}
	s.want(t, sink, map[int]string{1: "1", 2: "1"})
}

func sinkDelete(t *testing.T, s SinkSuite) {
	sink := s.Open(t)
	gone := func(n int, version string) hub.Object {
		return hub.Object{Key: s.object(n, version).Key, Version: version, Deleted: true}
	}
	apply(t, sink, s.object(1, "1"), s.object(2, "1"))
	for range 2 {
		apply(t, sink, gone(1, "2"))
	}
	apply(t, sink, gone(3, "")) // was never there
	s.want(t, sink, map[int]string{2: "1"})
	if s.Held != nil {
		if body, ok, err := s.Held(t.Context(), sink, s.object(1, "1").Key); ok || err != nil {
			t.Errorf("a deleted object is %q, %v", body, err)
		}
	}
	apply(t, sink, s.object(1, "3"))
	s.want(t, sink, map[int]string{1: "3", 2: "1"})
}

// sinkMany: a batch of the largest size that a session makes, beside reads.
func sinkMany(t *testing.T, s SinkSuite) {
	sink := s.Open(t)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for range 5 {
			if all, err := sink.Versions(t.Context()); err != nil {
				t.Error(err)
			} else {
				_ = maps.Collect(all)
			}
		}
	})
	want := make(map[int]string)
	var batch []hub.Object
	for n := range 128 {
		want[n] = "1"
		batch = append(batch, s.object(n, "1"))
	}
	apply(t, sink, batch...)
	s.want(t, sink, want)
}

func sinkReopen(t *testing.T, s SinkSuite) {
	if s.Reopen == nil {
		t.Skip("the sink keeps nothing")
	}
	sink := s.Open(t)
	apply(t, sink, s.object(1, "1"), s.object(2, "7"))
	sink = s.Reopen(t, sink)
	s.want(t, sink, map[int]string{1: "1", 2: "7"})
}
