package manager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// sink is the Down area as the link sees it.
type sink struct{ m *Manager }

// Versions yields the keys and versions in the Down area.
func (s *sink) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	view, err := s.m.store.Snapshot(ctx)
	if err != nil {
		return nil, fmt.Errorf("meta/manager: %w", err)
	}
	defer view.Close()
	// The version is in the value. A snapshot gives a few values at a time, so
	// that only keys and versions are held.
	type held struct {
		key     hub.Key
		version string
	}
	var list []held
	for r, err := range view.Records(ctx, meta.Down) {
		if err != nil {
			return nil, fmt.Errorf("meta/manager: %w", err)
		}
		o, err := meta.DecodeObject(meta.Down, r)
		if err != nil {
			// Not listed, it is sent again and replaced.
			s.m.log.Warn("stored object cannot be read", "key", r.Key, "err", err)
			continue
		}
		list = append(list, held{hub.Key(o.Key), o.Version})
	}
	return func(yield func(hub.Key, string) bool) {
		for _, h := range list {
			if !yield(h.key, h.version) {
				return
			}
		}
	}, nil
}

// Apply makes the objects durable in one batch. It needs several batches only for a
// window that is larger than a batch may be. Each of them is applied whole, and applying
// one twice has no effect.
func (s *sink) Apply(ctx context.Context, objects []hub.Object) error {
	newest := make(map[hub.Key]int)
	for i, o := range objects {
		if !meta.Key(o.Key).Valid() {
			return fmt.Errorf("meta/manager: %w", invalid(meta.Key(o.Key), "key cannot be stored"))
		}
		newest[o.Key] = i
	}
	var ops []meta.Op
	size := 0
	for i, o := range objects {
		if newest[o.Key] != i {
			continue
		}
		changes, err := s.changes(ctx, o)
		if err != nil {
			return err
		}
		n := 0
		for _, op := range changes {
			n += len(op.Key) + len(op.Value)
		}
		if size+n > meta.MaxBatch {
			if err := s.apply(ctx, ops); err != nil {
				return err
			}
			ops, size = nil, 0
		}
		ops, size = append(ops, changes...), size+n
	}
	return s.apply(ctx, ops)
}

func (s *sink) apply(ctx context.Context, ops []meta.Op) error {
	if len(ops) == 0 {
		return nil
	}
	gone, err := s.m.up.reportsOf(ctx, ops)
	if err == nil {
		_, err = s.m.store.Apply(ctx, append(ops, gone...)...)
	}
	switch {
	case errors.Is(err, meta.ErrTooLarge):
		return fmt.Errorf("meta/manager: %w", &hub.Error{Code: hub.CodeInvalid, Text: err.Error()})
	case err != nil:
		return fmt.Errorf("meta/manager: %w", err)
	}
	return nil
}

// changes returns the changes for one object: the object itself, and the removal of a
// cached answer to a query for it. If the cloud says that the object does not exist,
// the cache gets that as its answer.
func (s *sink) changes(ctx context.Context, o hub.Object) ([]meta.Op, error) {
	var ops []meta.Op
	op, changes, err := s.op(ctx, o)
	if err != nil {
		return nil, err
	}
	if changes {
		ops = append(ops, op)
	}
	key := meta.Key(o.Key)
	if o.Deleted && meta.SaysNotFound(o.Body) {
		answer := meta.EncodeObject(meta.Object{Key: key, Deleted: true, Stored: s.m.cfg.Now()})
		return append(ops, meta.Op{Key: cacheArea + key.Path(), Value: answer}), nil
	}
	switch _, err := s.m.store.Get(ctx, cacheArea+key.Path()); {
	case err == nil:
		ops = append(ops, meta.Op{Key: cacheArea + key.Path(), Delete: true})
	case !errors.Is(err, meta.ErrNotFound):
		return nil, fmt.Errorf("meta/manager: %w", err)
	}
	return ops, nil
}

// op returns the change for one object, and whether it changes anything.
func (s *sink) op(ctx context.Context, o hub.Object) (meta.Op, bool, error) {
	key := meta.Down + meta.Key(o.Key).Path()
	r, err := s.m.store.Get(ctx, key)
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return meta.Op{}, false, fmt.Errorf("meta/manager: %w", err)
	}
	exists := err == nil
	if o.Deleted {
		return meta.Op{Key: key, Delete: true}, exists, nil
	}
	if exists {
		have, err := meta.DecodeObject(meta.Down, r)
		if err == nil && have.Version == o.Version && (o.Version != "" || bytes.Equal(have.Body, o.Body)) {
			return meta.Op{}, false, nil
		}
	}
	return meta.Op{Key: key, Value: meta.EncodeObject(meta.Object{
		Key: meta.Key(o.Key), Version: o.Version, Body: o.Body, Stored: s.m.cfg.Now(),
	})}, true, nil
}

// reportsOf returns the removals of acknowledged reports about the objects that ops
// delete from the Down area, and about parts of them. Nothing else would remove these
// reports, and they are outdated. So a static pod whose mirror was deleted is reported
// again.
func (b *StateOutbox) reportsOf(ctx context.Context, ops []meta.Op) ([]meta.Op, error) {
	gone := make(map[string]bool)
	for _, op := range ops {
		if op.Delete {
			gone[strings.TrimPrefix(op.Key, meta.Down)] = true
		}
	}
	if len(gone) == 0 {
		return nil, nil
	}
	marks, _, err := b.m.store.Keys(ctx, meta.Acked)
	if err != nil {
		return nil, err
	}
	var removals []meta.Op
	for _, entry := range marks {
		path := strings.TrimPrefix(entry.Key, meta.Acked)
		if base, _ := basePath(path); !gone[base] {
			continue
		}
		mark, err := b.m.store.Get(ctx, entry.Key)
		if errors.Is(err, meta.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// A newer report than the one acknowledged is removed when it is
		// acknowledged itself.
		r, err := b.m.store.Get(ctx, meta.Up+path)
		if err == nil && r.Revision == ackedRevision(mark) {
			removals = append(removals, meta.Op{Key: r.Key, Delete: true})
		}
		removals = append(removals, meta.Op{Key: mark.Key, Delete: true})
	}
	return removals, nil
}

// basePath returns the path of the object that a report is about, and whether the
// report is about a part of it: "pods/a/b" and true for "pods:status/a/b".
func basePath(path string) (base string, partial bool) {
	resource, rest, _ := strings.Cut(path, "/")
	whole, _, partial := strings.Cut(resource, ":")
	return whole + "/" + rest, partial
}
