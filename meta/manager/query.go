package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// maxAnswers is how many answers of the cloud are kept; one more replaces the
// oldest.
const maxAnswers = 1000

// Query reads the object that q names, or asks for an action on it.
//
// A query without a body reads. An object in the Down area is returned from the store.
// Otherwise a cached answer is returned while it is fresh or the node is offline.
// Otherwise the cloud is asked, and its answer is cached. "Not found" is cached too, but
// is used only while the cloud cannot be asked: see Absent.
//
// A query with a body asks for an action. It always goes to the cloud, and its answer
// is not cached.
//
// Stored in the answer is when this node received it, Confirmed the last time at which it
// was known to be what the cloud has. The error wraps meta.ErrNotFound when the object does
// not exist; it is ErrOffline when neither the store nor the cloud answered; otherwise it
// is the *hub.Error of the cloud.
func (m *Manager) Query(ctx context.Context, q meta.Object) (meta.Object, error) {
	if !q.Key.Valid() {
		return meta.Object{}, fmt.Errorf("meta/manager: %w", invalid(q.Key, "key cannot be stored"))
	}
	var kept meta.Object
	known := false
	if len(q.Body) == 0 {
		for _, area := range []string{meta.Down, cacheArea} {
			o, ok, err := m.stored(ctx, area, q.Key)
			if err != nil {
				return meta.Object{}, err
			}
			if ok && area == meta.Down {
				m.stats.local.Add(1)
				o.Confirmed = m.confirmed(o)
				return o, nil
			}
			kept, known = o, ok
		}
	}
	kept.Confirmed = kept.Stored
	age := m.cfg.Now().Sub(kept.Stored)
	fresh := age >= 0 && age < m.cfg.Fresh && !kept.Deleted
	if known && (fresh || m.offline()) {
		return m.local(kept, fresh)
	}
	if m.offline() {
		return meta.Object{}, fmt.Errorf("%w: %s", ErrOffline, q.Key)
	}
	answer, err := m.ask(ctx, q)
	absent := errors.Is(err, meta.ErrNotFound)
	switch {
	case (err == nil || absent) && len(q.Body) == 0:
		if absent {
			answer = meta.Object{Key: q.Key, Deleted: true}
		}
		// The answer is good even if it cannot be cached.
		if err := m.keep(ctx, answer); err != nil && ctx.Err() == nil {
			m.log.Warn("an answer of the cloud could not be cached", "key", q.Key.String(), "err", err)
		}
		if absent {
			return meta.Object{}, err
		}
		return answer, nil
	case err == nil:
		return answer, nil
	case known && !absent && !refused(err):
		return m.local(kept, false)
	}
	return meta.Object{}, err
}

// local returns a stored answer and counts it.
func (m *Manager) local(o meta.Object, fresh bool) (meta.Object, error) {
	m.stats.local.Add(1)
	if !fresh {
		m.stats.stale.Add(1)
	}
	if o.Deleted {
		return meta.Object{}, fmt.Errorf("meta/manager: %w: %s", meta.ErrNotFound, o.Key)
	}
	return o, nil
}

// confirmed is the last time at which an object of the Down area was known to be what
// the cloud has: now while connected, otherwise the time of the disconnect.
func (m *Manager) confirmed(o meta.Object) time.Time {
	info := m.Connection()
	switch {
	case info.Connected:
		return m.cfg.Now()
	case info.Since.After(o.Stored):
		return info.Since
	}
	return o.Stored
}

// refused reports whether the cloud itself refused, so that a retry has no use.
func refused(err error) bool {
	var peer *hub.Error
	return errors.As(err, &peer) && peer.Final()
}

// keep caches an answer of the cloud. An object that is marked as deleted stands for
// "not found".
func (m *Manager) keep(ctx context.Context, answer meta.Object) error {
	answer.Stored = m.cfg.Now()
	key := cacheArea + answer.Key.Path()
	list, _, err := m.store.Keys(ctx, cacheArea)
	if err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	ops := []meta.Op{{Key: key, Value: meta.EncodeObject(answer)}}
	if len(list) >= maxAnswers {
		oldest := slices.MinFunc(list, func(a, b meta.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
		ops = append([]meta.Op{{Key: oldest.Key, Delete: true}}, ops...)
	}
	if _, err := m.store.Apply(ctx, ops...); err != nil {
		return fmt.Errorf("meta/manager: %w", err)
	}
	return nil
}

// stored reads an object of an area; one that cannot be decoded is not there.
func (m *Manager) stored(ctx context.Context, area string, key meta.Key) (meta.Object, bool, error) {
	r, err := m.store.Get(ctx, area+key.Path())
	if errors.Is(err, meta.ErrNotFound) {
		return meta.Object{}, false, nil
	}
	if err != nil {
		return meta.Object{}, false, fmt.Errorf("meta/manager: %w", err)
	}
	o, err := meta.DecodeObject(area, r)
	if err != nil {
		m.log.Warn("stored object cannot be read", "key", r.Key, "err", err)
		return meta.Object{}, false, nil
	}
	return o, true, nil
}

// ask calls the cloud. An error that is not from the cloud itself, or that asks to retry
// later, becomes ErrOffline.
func (m *Manager) ask(ctx context.Context, q meta.Object) (meta.Object, error) {
	callCtx, cancel := context.WithTimeout(ctx, m.cfg.CallTimeout)
	defer cancel()
	msg, err := m.cfg.Caller.Call(callCtx, hub.Message{Operation: hub.Query, Key: hub.Key(q.Key), Version: q.Version, Body: q.Body})
	if err == nil && msg.Error != nil {
		err = msg.Error
	}
	var peer *hub.Error
	switch {
	case err == nil:
		m.stats.cloud.Add(1)
		now := m.cfg.Now()
		return meta.Object{Key: q.Key, Version: msg.Version, Body: msg.Body, Stored: now, Confirmed: now}, nil
	case ctx.Err() != nil:
		return meta.Object{}, context.Cause(ctx)
	case !errors.As(err, &peer) || peer.Code == hub.CodeUnavailable || peer.Code == hub.CodeDeadline || peer.Code == hub.CodeExhausted:
		return meta.Object{}, fmt.Errorf("%w: %s: %w", ErrOffline, q.Key, err)
	case peer.Code == hub.CodeNotFound:
		return meta.Object{}, fmt.Errorf("meta/manager: %w: %s: %w", meta.ErrNotFound, q.Key, err)
	}
	return meta.Object{}, fmt.Errorf("meta/manager: query of %s: %w", q.Key, err)
}
