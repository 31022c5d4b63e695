package manager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// StateOutbox is the Up area as a hub.Source and a hub.Acker. It belongs to a Manager,
// whose Run notifies subscribers of new reports.
type StateOutbox struct {
	m *Manager

	mu sync.Mutex
	// loaded holds the revision of each key that Load returned last. The store's watch
	// lags behind the link: an event with a revision that was loaded already is
	// ignored. An entry is removed when the watch reports the deletion of its key.
	loaded map[meta.Key]uint64
	// unstored is what UpdateInMemory keeps.
	unstored inMemory

	subs subscribers[hub.Key]
}

var (
	_ hub.Source = (*StateOutbox)(nil)
	_ hub.Acker  = (*StateOutbox)(nil)
)

// Versions yields the reports that are not acknowledged. The cloud stores nothing of a
// node's reports, so this is exactly what it must get.
func (b *StateOutbox) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	list, _, err := b.m.store.Keys(ctx, meta.Up)
	if err != nil {
		return nil, fmt.Errorf("meta/manager: %w", err)
	}
	marks, _, err := b.m.store.List(ctx, meta.Acked)
	if err != nil {
		return nil, fmt.Errorf("meta/manager: %w", err)
	}
	acked := make(map[string]uint64, len(marks))
	for _, mark := range marks {
		acked[strings.TrimPrefix(mark.Key, meta.Acked)] = ackedRevision(mark)
	}
	unstored := b.allUnstored()
	return func(yield func(hub.Key, string) bool) {
		for key, u := range unstored {
			if !u.acked && !yield(hub.Key(key), u.at.version()) {
				return
			}
		}
		for _, r := range list {
			path := strings.TrimPrefix(r.Key, meta.Up)
			key, ok := meta.ParsePath(path)
			if _, newer := unstored[key]; ok && !newer && acked[path] != r.Revision && !yield(hub.Key(key), version(r.Revision)) {
				return
			}
		}
	}, nil
}

// Load returns the newest value of one report, and a deletion without a body for a report
// that is no longer in the outbox. It ignores held, since each key has one value only.
func (b *StateOutbox) Load(ctx context.Context, key hub.Key, _ string) (hub.Object, error) {
	if o, is := b.loadUnstored(meta.Key(key)); is {
		return o, nil
	}
	r, err := b.m.store.Get(ctx, meta.Up+meta.Key(key).Path())
	if errors.Is(err, meta.ErrNotFound) {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	if err != nil {
		return hub.Object{}, fmt.Errorf("meta/manager: %w", err)
	}
	o, err := meta.DecodeObject(meta.Up, r)
	if err != nil {
		return hub.Object{}, fmt.Errorf("meta/manager: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.loaded[o.Key] = max(b.loaded[o.Key], r.Revision)
	return hub.Object{Key: key, Version: version(r.Revision), Body: o.Body, Deleted: o.Deleted}, nil
}

// Compare orders two revisions, and what UpdateInMemory reported after them. A version
// that is neither sorts before every other.
func (b *StateOutbox) Compare(x, y string) int {
	p, q := placeOf(x), placeOf(y)
	return cmp.Or(cmp.Compare(p.revision, q.revision), cmp.Compare(p.after, q.after))
}

// Subscribe calls changed for each new report until stop is called. A running call may
// end after stop. There is no call for a report that Load has returned, except when Load
// and the call happen at the same time: the report is then sent twice at most.
func (b *StateOutbox) Subscribe(changed func(hub.Key)) (stop func()) {
	return b.subs.add(changed)
}

// Acked records what the cloud has made durable. It removes deletions, and reports about
// a part of an object that is gone, and marks the other reports. It ignores a report that
// was replaced since.
func (b *StateOutbox) Acked(ctx context.Context, acked []hub.Object) error {
	b.ackUnstored(acked)
	for {
		var ops []meta.Op
		for _, o := range acked {
			of, err := b.ackOps(ctx, meta.Key(o.Key), revision(o.Version))
			if err != nil {
				return fmt.Errorf("meta/manager: %w", err)
			}
			ops = append(ops, of...)
		}
		_, err := b.m.store.Apply(ctx, ops...)
		if errors.Is(err, meta.ErrConflict) {
			continue // one of them was replaced between looking and marking
		}
		if err != nil {
			return fmt.Errorf("meta/manager: %w", err)
		}
		return nil
	}
}

func (b *StateOutbox) ackOps(ctx context.Context, key meta.Key, at uint64) ([]meta.Op, error) {
	path := key.Path()
	r, err := b.m.store.Get(ctx, meta.Up+path)
	if errors.Is(err, meta.ErrNotFound) || err == nil && r.Revision != at {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := meta.DecodeObject(meta.Up, r)
	forget := err != nil || o.Deleted
	if base, partial := basePath(path); partial && !forget {
		_, err := b.m.store.Get(ctx, meta.Down+base)
		if err != nil && !errors.Is(err, meta.ErrNotFound) {
			return nil, err
		}
		forget = err != nil
	}
	if forget {
		return []meta.Op{{Key: r.Key, Delete: true, If: &r.Revision}, {Key: meta.Acked + path, Delete: true}}, nil
	}
	return []meta.Op{{Key: meta.Acked + path, Value: []byte(version(at))}}, nil
}

// follow notifies subscribers of all reports in the outbox, and then of every change
// until the watch ends.
func (b *StateOutbox) follow(ctx context.Context) error {
	list, at, err := b.m.store.Keys(ctx, meta.Up)
	if err != nil {
		return err
	}
	there := make(map[meta.Key]bool)
	for _, r := range list {
		if key, ok := meta.ParsePath(strings.TrimPrefix(r.Key, meta.Up)); ok {
			there[key] = true
			b.notifyOf(key, r.Revision)
		}
	}
	b.forgetLoadedRevisions(there, at)
	changes, err := b.m.store.Watch(ctx, meta.Up, at)
	if errors.Is(err, meta.ErrCompacted) {
		return nil // overtaken already: list again
	}
	if err != nil {
		return err
	}
	for events := range changes {
		for _, e := range events {
			if key, ok := meta.ParsePath(strings.TrimPrefix(e.Key, meta.Up)); !ok {
				continue
			} else if e.Deleted {
				b.gone(key, e.Revision)
			} else {
				b.notifyOf(key, e.Revision)
			}
		}
	}
	return nil
}

// notifyOf calls the subscribers unless the link has this revision already.
func (b *StateOutbox) notifyOf(key meta.Key, revision uint64) {
	b.mu.Lock()
	known := b.loaded[key] >= revision
	b.mu.Unlock()
	if !known {
		b.notify(key)
	}
}

// notify calls the subscribers, without a lock.
func (b *StateOutbox) notify(key meta.Key) { b.subs.call(hub.Key(key)) }

// forget has the reports sent again although the link has loaded them.
func (b *StateOutbox) forget(keys []meta.Key) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, key := range keys {
		delete(b.loaded, key)
	}
}

func (b *StateOutbox) gone(key meta.Key, at uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.loaded[key] < at {
		delete(b.loaded, key)
	}
}

// forgetLoadedRevisions drops the entries of keys that were not there at a revision.
func (b *StateOutbox) forgetLoadedRevisions(there map[meta.Key]bool, at uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for key, revision := range b.loaded {
		if !there[key] && revision <= at {
			delete(b.loaded, key)
		}
	}
}

func version(revision uint64) string { return strconv.FormatUint(revision, 10) }

func revision(version string) uint64 {
	n, err := strconv.ParseUint(version, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func ackedRevision(mark meta.Record) uint64 { return revision(string(mark.Value)) }
