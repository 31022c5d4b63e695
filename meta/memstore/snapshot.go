package memstore

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/meta"
)

// snapshot shares the values with the store, which never changes them, and has its own
// copy of the keys.
type snapshot struct {
	store    *Store
	revision uint64

	mu      sync.Mutex
	closed  bool
	keys    []string
	records map[string]record
}

// Snapshot returns the present content; see meta.Store. It copies the keys, not the
// values.
func (s *Store) Snapshot(ctx context.Context) (meta.Snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(ctx); err != nil {
		return nil, err
	}
	s.stats.Snapshots++
	return &snapshot{store: s, revision: s.revision, keys: slices.Clone(s.keys), records: maps.Clone(s.records)}, nil
}

func (v *snapshot) Revision() uint64 { return v.revision }

func (v *snapshot) Get(ctx context.Context, key string) (meta.Record, error) {
	_, records, err := v.content(ctx)
	if err != nil {
		return meta.Record{}, err
	}
	r, ok := records[key]
	if !ok {
		return meta.Record{}, fmt.Errorf("%w: %q", meta.ErrNotFound, key)
	}
	return meta.Record{Key: key, Value: slices.Clone(r.value), Revision: r.revision}, nil
}

func (v *snapshot) Records(ctx context.Context, prefix string) iter.Seq2[meta.Record, error] {
	return func(yield func(meta.Record, error) bool) {
		keys, _, err := v.content(ctx)
		first, _ := slices.BinarySearch(keys, prefix)
		for _, key := range keys[first:] {
			var r meta.Record
			if r, err = v.Get(ctx, key); err != nil || !strings.HasPrefix(key, prefix) || !yield(r, nil) {
				break
			}
		}
		if err != nil {
			yield(meta.Record{}, err)
		}
	}
}

func (v *snapshot) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.closed, v.keys, v.records = true, nil, nil
		v.store.mu.Lock()
		v.store.stats.Snapshots--
		v.store.mu.Unlock()
	}
	return nil
}

// content returns the keys and values, unless the snapshot or its store is closed.
func (v *snapshot) content(ctx context.Context) ([]string, map[string]record, error) {
	v.store.mu.RLock()
	err := v.store.usableLocked(ctx)
	v.store.mu.RUnlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err == nil && v.closed {
		err = fmt.Errorf("meta: snapshot is closed: %w", net.ErrClosed)
	}
	return v.keys, v.records, err
}
