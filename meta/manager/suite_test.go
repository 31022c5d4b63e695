package manager_test

import (
	"context"
	"errors"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/manager"
	"github.com/edgekit/edgekit/meta/memstore"
)

// TestDownIsASink checks the Down area against the contract of a hub.Sink.
func TestDownIsASink(t *testing.T) {
	stores := make(map[hub.Sink]meta.Store)
	open := func(t *testing.T, store meta.Store) hub.Sink {
		sink := newManager(t, manager.Config{Store: store}).Down()
		stores[sink] = store
		return sink
	}
	hubtest.RunSink(t, hubtest.SinkSuite{
		Open: func(t *testing.T) hub.Sink {
			store := memstore.New()
			t.Cleanup(func() { store.Close() })
			return open(t, store)
		},
		Reopen: func(t *testing.T, s hub.Sink) hub.Sink { return open(t, stores[s]) },
		Held: func(ctx context.Context, s hub.Sink, key hub.Key) (string, bool, error) {
			r, err := stores[s].Get(ctx, meta.Down+meta.Key(key).Path())
			if errors.Is(err, meta.ErrNotFound) {
				return "", false, nil
			}
			if err != nil {
				return "", false, err
			}
			o, err := meta.DecodeObject(meta.Down, r)
			return string(o.Body), true, err
		},
	})
}

// TestReportsAreASource checks the Up area against the contract of a hub.Source.
func TestReportsAreASource(t *testing.T) {
	managers := make(map[hub.Source]*manager.Manager)
	hubtest.RunSource(t, hubtest.SourceSuite{
		Open: func(t *testing.T) hub.Source {
			m := newManager(t, manager.Config{})
			run(t, m)
			managers[m.StateOutbox()] = m
			return m.StateOutbox()
		},
		Put: func(ctx context.Context, s hub.Source, key hub.Key, body string) error {
			return managers[s].Update(ctx, meta.Object{Key: meta.Key(key), Body: []byte(body)})
		},
		Delete: func(ctx context.Context, s hub.Source, key hub.Key) error {
			return managers[s].Delete(ctx, meta.Object{Key: meta.Key(key)})
		},
	})
}
