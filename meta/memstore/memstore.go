package memstore

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/feed"
)

// Store is a meta.Store in memory. Make one with New.
type Store struct {
	feed *feed.Feed

	mu       sync.RWMutex
	closed   bool
	revision uint64
	keys     []string // sorted
	records  map[string]record
	stats    meta.Stats // the counts
}

type record struct {
	value    []byte // never changed once stored
	revision uint64
}

var (
	_ meta.Store         = (*Store)(nil)
	_ meta.PrefixWatcher = (*Store)(nil)
)

// New makes an empty Store at revision 0.
func New() *Store {
	return &Store{feed: feed.New(feed.Limits{}, 0, 0), records: make(map[string]record)}
}

// Close ends all watches. Twice is nil; later calls wrap net.ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.feed.Close()
	return nil
}

// Apply does the ops as one batch; see meta.Store.
func (s *Store) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if err := meta.CheckOps(ops); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usableLocked(ctx); err != nil {
		return 0, err
	}
	if len(ops) == 0 {
		return s.revision, nil
	}
	for _, op := range ops {
		if have := s.records[op.Key].revision; op.If != nil && *op.If != have {
			return 0, fmt.Errorf("%w: %q is at revision %d, not %d", meta.ErrConflict, op.Key, have, *op.If)
		}
	}
	s.revision++
	s.stats.Batches++
	s.stats.Ops += uint64(len(ops))
	for _, op := range ops {
		s.stats.Bytes += uint64(len(op.Key) + len(op.Value))
	}
	var events []meta.Event
	for _, op := range ops {
		if e, changed := s.applyLocked(op); changed {
			events = append(events, e)
		}
	}
	s.feed.Publish(s.revision, events)
	return s.revision, nil
}

// Get reads one key; see meta.Store.
func (s *Store) Get(ctx context.Context, key string) (meta.Record, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usableLocked(ctx); err != nil {
		return meta.Record{}, err
	}
	r, ok := s.records[key]
	if !ok {
		return meta.Record{}, fmt.Errorf("%w: %q", meta.ErrNotFound, key)
	}
	return meta.Record{Key: key, Value: slices.Clone(r.value), Revision: r.revision}, nil
}

// List reads all keys with the prefix; see meta.Store.
func (s *Store) List(ctx context.Context, prefix string) ([]meta.Record, uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usableLocked(ctx); err != nil {
		return nil, 0, err
	}
	var list []meta.Record
	for _, key := range s.withLocked(prefix) {
		r := s.records[key]
		list = append(list, meta.Record{Key: key, Value: slices.Clone(r.value), Revision: r.revision})
	}
	return list, s.revision, nil
}

// Keys returns all keys with the prefix; see meta.Store.
func (s *Store) Keys(ctx context.Context, prefix string) ([]meta.Entry, uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usableLocked(ctx); err != nil {
		return nil, 0, err
	}
	keys := s.withLocked(prefix)
	list := make([]meta.Entry, 0, len(keys))
	for _, key := range keys {
		list = append(list, meta.Entry{Key: key, Revision: s.records[key].revision})
	}
	return list, s.revision, nil
}

// withLocked returns the keys with the prefix. The caller holds mu while it reads the
// slice.
func (s *Store) withLocked(prefix string) []string {
	first, _ := slices.BinarySearch(s.keys, prefix)
	n := slices.IndexFunc(s.keys[first:], func(key string) bool { return !strings.HasPrefix(key, prefix) })
	if n < 0 {
		return s.keys[first:]
	}
	return s.keys[first : first+n]
}

// Watch follows the keys with the prefix; see meta.Store. The last 4,096
// changes or 1 MiB of them are remembered, whichever is less.
func (s *Store) Watch(ctx context.Context, prefix string, after uint64) (<-chan []meta.Event, error) {
	return s.feed.Watch(ctx, after, prefix)
}

// WatchPrefixes follows the keys with any of the prefixes; see
// meta.PrefixWatcher.
func (s *Store) WatchPrefixes(ctx context.Context, prefixes []string, after uint64) (<-chan []meta.Event, error) {
	return s.feed.Watch(ctx, after, slices.Clone(prefixes)...)
}

// Stats returns the store's metrics.
func (s *Store) Stats() meta.Stats {
	s.mu.RLock()
	defer s.mu.RUnlock()
	stats := s.stats
	stats.Revision = s.revision
	s.feed.Stats(&stats)
	return stats
}

func (s *Store) usableLocked(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("meta: memstore is closed: %w", net.ErrClosed)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// applyLocked does one op and reports whether it changed anything; it needs mu.
func (s *Store) applyLocked(op meta.Op) (meta.Event, bool) {
	at, exists := slices.BinarySearch(s.keys, op.Key)
	e := meta.Event{Record: meta.Record{Key: op.Key, Revision: s.revision}, Deleted: op.Delete}
	if op.Delete {
		if exists {
			e.Value = s.records[op.Key].value
			s.keys = slices.Delete(s.keys, at, at+1)
			delete(s.records, op.Key)
		}
		return e, exists
	}
	if !exists {
		s.keys = slices.Insert(s.keys, at, op.Key)
	}
	e.Value = append([]byte{}, op.Value...)
	s.records[op.Key] = record{value: e.Value, revision: s.revision}
	return e, true
}
