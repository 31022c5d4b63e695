package manager

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/meta"
)

// Insert reports an object that is new to the cloud. It returns when the
// report is durable in the outbox. With Once set the object is forgotten when
// it is acknowledged; without, a report that repeats the last one is dropped.
// Version and Stored are not used.
func (m *Manager) Insert(ctx context.Context, o meta.Object) error {
	o.Deleted = false
	return m.report(ctx, o)
}

// Update reports a new value of an object; it is the same as Insert, since the
// cloud creates what it does not have.
func (m *Manager) Update(ctx context.Context, o meta.Object) error {
	o.Deleted = false
	return m.report(ctx, o)
}

// Delete asks the cloud to delete an object; Body may say how. A report under
// the same key that was not sent yet is replaced.
func (m *Manager) Delete(ctx context.Context, o meta.Object) error {
	o.Deleted, o.Once = true, false
	return m.report(ctx, o)
}

// MetaSync has one report sent again, or all of them if key is the zero Key,
// as if the cloud had never acknowledged them.
func (m *Manager) MetaSync(ctx context.Context, key meta.Key) error {
	marks, _, err := m.store.List(ctx, meta.Acked)
	if err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	var ops []meta.Op
	var again []meta.Key
	for _, mark := range marks {
		k, ok := meta.ParsePath(strings.TrimPrefix(mark.Key, meta.Acked))
		if key == (meta.Key{}) || key == k || !ok {
			ops, again = append(ops, meta.Op{Key: mark.Key, Delete: true}), append(again, k)
		}
	}
	if _, err := m.store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("manager: %w", err)
	}
	m.up.mu.Lock()
	defer m.up.mu.Unlock()
	for _, k := range again {
		delete(m.up.told, k)
		m.up.tellLocked(k)
	}
	return nil
}

func (m *Manager) report(ctx context.Context, o meta.Object) error {
	if !o.Key.Valid() {
		return fmt.Errorf("manager: %w", invalid(o.Key, "key cannot be stored"))
	}
	key := meta.Up + o.Key.Path()
	r, err := m.store.Get(ctx, key)
	switch {
	case errors.Is(err, meta.ErrNotFound):
	case err != nil:
		return fmt.Errorf("manager: %w", err)
	default:
		last, err := meta.DecodeObject(meta.Up, r)
		if err == nil && last.Deleted == o.Deleted && last.Once == o.Once && bytes.Equal(last.Body, o.Body) {
			return nil
		}
	}
	o.Version, o.Stored = "", m.cfg.Now()
	ops := []meta.Op{{Key: key, Value: meta.EncodeObject(o)}}
	if o.Once {
		evicted, err := m.once.add(ctx, m, key)
		if err != nil {
			return err
		}
		ops = append(ops, evicted...)
	}
	if _, err := m.store.Apply(ctx, ops...); err != nil {
		if errors.Is(err, meta.ErrTooLarge) {
			return fmt.Errorf("manager: %w: %w", err, invalid(o.Key, "too large"))
		}
		return fmt.Errorf("manager: %w", err)
	}
	return nil
}

// backlog knows the Once objects in the outbox, oldest first. It may name one
// that is not stored, after a write that failed; it never misses one that the
// Manager wrote.
type backlog struct {
	mu     sync.Mutex
	loaded bool
	keys   []string // store keys
}

// add notes one more and gives the removal of those that are too many.
func (b *backlog) add(ctx context.Context, m *Manager, key string) ([]meta.Op, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.loadLocked(ctx, m.store); err != nil {
		return nil, fmt.Errorf("manager: %w", err)
	}
	if slices.Contains(b.keys, key) {
		return nil, nil
	}
	var removals []meta.Op
	for len(b.keys) >= m.cfg.MaxOnce {
		removals = append(removals, meta.Op{Key: b.keys[0], Delete: true})
		b.keys = slices.Delete(b.keys, 0, 1)
	}
	if n := uint64(len(removals)); n > 0 && m.dropped.Add(n)%100 == n {
		m.log.Warn("outbox is full: oldest event dropped; told once in a hundred", "limit", m.cfg.MaxOnce, "dropped", m.dropped.Load())
	}
	b.keys = append(b.keys, key)
	return removals, nil
}

func (b *backlog) remove(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.keys, key); i >= 0 {
		b.keys = slices.Delete(b.keys, i, i+1)
	}
}

// loadLocked reads what an earlier run left; it needs mu.
func (b *backlog) loadLocked(ctx context.Context, store meta.Store) error {
	if b.loaded {
		return nil
	}
	list, _, err := store.List(ctx, meta.Up)
	if err != nil {
		return err
	}
	slices.SortFunc(list, func(x, y meta.Record) int {
		return cmp.Compare(x.Revision, y.Revision)
	})
	for _, r := range list {
		if o, err := meta.DecodeObject(meta.Up, r); err == nil && o.Once {
			b.keys = append(b.keys, r.Key)
		}
	}
	b.loaded = true
	return nil
}
