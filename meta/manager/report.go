package manager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/meta"
)

// Insert reports an object that is new to the cloud. It returns when the
// report is durable in the outbox; one that repeats the last is dropped. Version
// and the times are not used.
func (m *Manager) Insert(ctx context.Context, o meta.Object) error {
	o.Deleted = false
	return m.report(ctx, o)
}

// Update reports a new value of an object. It is the same as Insert, because the cloud
// creates an object that does not exist.
func (m *Manager) Update(ctx context.Context, o meta.Object) error {
	o.Deleted = false
	return m.report(ctx, o)
}

// Delete asks the cloud to delete an object; Body may hold DeleteOptions. It replaces an
// unsent report under the same key.
func (m *Manager) Delete(ctx context.Context, o meta.Object) error {
	o.Deleted = true
	return m.report(ctx, o)
}

// MetaSync sends one report again, or all of them if key is the zero Key, as if the cloud
// had never acknowledged them.
func (m *Manager) MetaSync(ctx context.Context, key meta.Key) error {
	marks, _, err := m.store.Keys(ctx, meta.Acked)
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
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
		return fmt.Errorf("meta/manager: %w", err)
	}
	m.up.forget(again)
	for _, k := range again {
		m.up.notify(k)
	}
	return nil
}

func (m *Manager) report(ctx context.Context, o meta.Object) error {
	if !o.Key.Valid() {
		return fmt.Errorf("meta/manager: %w", invalid(o.Key, "key cannot be stored"))
	}
	key := meta.Up + o.Key.Path()
	r, err := m.store.Get(ctx, key)
	switch {
	case errors.Is(err, meta.ErrNotFound):
		if err := m.state.admit(ctx, m); err != nil {
			return fmt.Errorf("%w: %s", err, o.Key)
		}
	case err != nil:
		return fmt.Errorf("meta/manager: %w", err)
	default:
		last, err := meta.DecodeObject(meta.Up, r)
		if err == nil && last.Deleted == o.Deleted && bytes.Equal(last.Body, o.Body) && !m.up.isUnstored(o.Key) {
			return nil
		}
	}
	o.Version, o.Stored = "", m.cfg.Now()
	if _, err := m.store.Apply(ctx, meta.Op{Key: key, Value: meta.EncodeObject(o)}); err != nil {
		if errors.Is(err, meta.ErrTooLarge) {
			return fmt.Errorf("meta/manager: %w: %w", err, invalid(o.Key, "too large"))
		}
		return fmt.Errorf("meta/manager: %w", err)
	}
	m.up.stored(o.Key)
	return nil
}

// stateCount bounds the Up area. Its count may be too high, because removals do not lower
// it; when the count reaches the bound, the area is counted again.
type stateCount struct {
	mu     sync.Mutex
	loaded bool
	most   int // at most so many objects are there
}

// admit counts one object more, or returns ErrOutboxFull.
func (s *stateCount) admit(ctx context.Context, m *Manager) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded || s.most >= m.cfg.MaxState {
		list, _, err := m.store.Keys(ctx, meta.Up)
		if err != nil {
			return fmt.Errorf("meta/manager: %w", err)
		}
		s.loaded, s.most = true, len(list)
	}
	if s.most >= m.cfg.MaxState {
		if n := m.stats.stateRefused.Add(1); n%100 == 1 {
			m.log.Error("outbox of state is full: report refused; logged once in a hundred", "limit", m.cfg.MaxState, "refused", n)
		}
		return ErrOutboxFull
	}
	s.most++
	return nil
}
