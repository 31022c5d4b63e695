package memstate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/memstate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSource(t *testing.T, limits memstate.Limits) *memstate.Source {
	t.Helper()
	s, err := memstate.NewSource(limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newSink(t *testing.T, limits memstate.Limits, changed func([]hub.Object)) *memstate.Sink {
	t.Helper()
	s, err := memstate.NewSink(limits, changed)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSource(t *testing.T) {
	hubtest.RunSource(t, hubtest.SourceSuite{
		Open: func(t *testing.T) hub.Source { return newSource(t, memstate.Limits{}) },
		Put: func(_ context.Context, s hub.Source, key hub.Key, body string) error {
			return s.(*memstate.Source).Put(key, []byte(body))
		},
		Delete: func(_ context.Context, s hub.Source, key hub.Key) error {
			s.(*memstate.Source).Delete(key)
			return nil
		},
	})
}

func TestSink(t *testing.T) {
	hubtest.RunSink(t, hubtest.SinkSuite{
		Open: func(t *testing.T) hub.Sink { return newSink(t, memstate.Limits{}, nil) },
		Held: func(_ context.Context, s hub.Sink, key hub.Key) (string, bool, error) {
			o, ok := s.(*memstate.Sink).Get(key)
			return string(o.Body), ok, nil
		},
	})
}

func key(name string) hub.Key { return hub.Key{Resource: "settings", Name: name} }

// TestSourceIsBounded fills a Source: a refused Put changes nothing, and room that a
// Delete makes can be used.
func TestSourceIsBounded(t *testing.T) {
	for name, limits := range map[string]memstate.Limits{"objects": {Objects: 2}, "bytes": {Bytes: 20}} {
		t.Run(name, func(t *testing.T) {
			s := newSource(t, limits)
			body := []byte(strings.Repeat("x", 10))
			for _, k := range []string{"a", "b", "a"} {
				if err := s.Put(key(k), body); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Put(key("c"), body); !errors.Is(err, memstate.ErrFull) {
				t.Errorf("a third object: %v", err)
			}
			if o, _ := s.Load(t.Context(), key("c"), ""); !o.Deleted {
				t.Error("what was refused is there")
			}
			s.Delete(key("a"))
			if err := s.Put(key("c"), body); err != nil {
				t.Errorf("after one was deleted: %v", err)
			}
		})
	}
}

// TestSinkIsBounded fills a Sink: a batch that does not fit is refused as a whole, with an
// error that the session tries again.
func TestSinkIsBounded(t *testing.T) {
	applied := 0
	s := newSink(t, memstate.Limits{Objects: 2, Bytes: 100}, func(objects []hub.Object) { applied += len(objects) })
	object := func(k string, size int) hub.Object {
		return hub.Object{Key: key(k), Version: "1", Body: make([]byte, size)}
	}
	if err := s.Apply(t.Context(), []hub.Object{object("a", 10), object("b", 10)}); err != nil {
		t.Fatal(err)
	}
	for name, batch := range map[string][]hub.Object{
		"too many":  {object("a", 1), object("c", 1)},
		"too large": {object("a", 1), object("b", 200)},
	} {
		err := s.Apply(t.Context(), batch)
		e, typed := errors.AsType[*hub.Error](err)
		if !errors.Is(err, memstate.ErrFull) || typed && e.Final() {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o, _ := s.Get(key("a")); len(o.Body) != 10 || s.Len() != 2 || applied != 2 {
		t.Errorf("a refused batch was applied in part: %d bytes, %d objects, %d reported", len(o.Body), s.Len(), applied)
	}
	gone := hub.Object{Key: key("a"), Deleted: true}
	if err := s.Apply(t.Context(), []hub.Object{gone, object("c", 1)}); err != nil {
		t.Errorf("one for another: %v", err)
	}
	for o := range s.All() {
		if o.Key == key("a") {
			t.Error("a deleted object is there")
		}
	}
}

// TestBadLimits has limits that make no sense.
func TestBadLimits(t *testing.T) {
	for _, l := range []memstate.Limits{{Objects: -1}, {Bytes: -1}} {
		_, errSource := memstate.NewSource(l)
		_, errSink := memstate.NewSink(l, nil)
		if errSource == nil || errSink == nil {
			t.Errorf("%+v: %v, %v", l, errSource, errSink)
		}
	}
}
