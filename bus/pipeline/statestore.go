package pipeline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/edgekit/edgekit/meta"
)

// statePrefix is where the state of steps is in the store; below it:
//
//	NAMESPACE/NAME/v           the version of the format and the pipeline's UID; written at each start
//	NAMESPACE/NAME/s/STEP      the signature of a step with state
//	NAMESPACE/NAME/k/STEP/KEY  the state of one key
//	NAMESPACE/NAME/r/NUMBER    the ids of the events of one of the last commits
//
// All parts are escaped as in a URL's path.
const statePrefix = meta.Local + "pipeline-state/"

// stateStore is the part of a meta.Store that has the state of steps.
type stateStore struct {
	store meta.Store
}

func prefixOf(ref Ref) string {
	return statePrefix + url.PathEscape(ref.Namespace) + "/" + url.PathEscape(ref.Name) + "/"
}

func signatureKey(ref Ref, step string) string { return prefixOf(ref) + "s/" + url.PathEscape(step) }

func keyPrefix(ref Ref, step string) string { return prefixOf(ref) + "k/" + url.PathEscape(step) + "/" }

func ringKey(ref Ref, slot uint64) string { return fmt.Sprintf("%sr/%02d", prefixOf(ref), slot) }

// stateVersion is the version of the format of state.
const stateVersion = "1"

// restored is what the store had of a pipeline.
type restored struct {
	ids     map[uint64]struct{} // of the events of the last commits
	seq     uint64              // of the last commit
	damaged int                 // records that could not be read and were removed
}

// restore sets the state of the machine's steps to that of the store. State of steps that
// are gone, that have changed, or that is damaged is removed.
func (s *stateStore) restore(ctx context.Context, m *Machine) (restored, error) {
	r := restored{ids: make(map[uint64]struct{})}
	ref := m.plan.ref
	snap, err := s.store.Snapshot(ctx)
	if err != nil {
		return r, err
	}
	defer snap.Close()
	// The write shows that the store can be written, before sources run.
	ops := []meta.Op{{Key: prefixOf(ref) + "v", Value: []byte(strings.TrimSpace(stateVersion + " " + string(m.plan.spec.UID)))}}
	remove := func(key string) { ops = append(ops, meta.Op{Key: key, Delete: true}) }
	signatures := make(map[string]string)
	for rec, err := range snap.Records(ctx, prefixOf(ref)+"s/") {
		if err != nil {
			return r, err
		}
		step, _ := url.PathUnescape(strings.TrimPrefix(rec.Key, prefixOf(ref)+"s/"))
		signatures[step] = string(rec.Value)
	}
	holders := make(map[string]*node) // by the escaped name
	for _, n := range m.holders {
		want := n.planNode.step.signature()
		if signatures[n.name] == want {
			holders[url.PathEscape(n.name)] = n
		} else {
			ops = append(ops, meta.Op{Key: signatureKey(ref, n.name), Value: []byte(want)})
		}
		delete(signatures, n.name)
	}
	for step := range signatures {
		remove(signatureKey(ref, step))
	}
	for rec, err := range snap.Records(ctx, prefixOf(ref)+"k/") {
		if err != nil {
			return r, err
		}
		step, key, _ := strings.Cut(strings.TrimPrefix(rec.Key, prefixOf(ref)+"k/"), "/")
		n := holders[step]
		if n == nil {
			remove(rec.Key)
			continue
		}
		key, err := url.PathUnescape(key)
		if err == nil {
			err = n.state.restore(m, key, rec.Value)
		}
		if err != nil {
			r.damaged++
			remove(rec.Key)
		}
	}
	for _, n := range m.holders {
		if s, ok := n.state.(interface{ sort() }); ok {
			s.sort()
		}
	}
	for rec, err := range snap.Records(ctx, prefixOf(ref)+"r/") {
		if err != nil {
			return r, err
		}
		r.ring(rec.Value)
	}
	return r, s.apply(ctx, ops)
}

// former reports whether the store has state of another pipeline that had the name before.
// Pipelines from a file have no UID: those are the same by their name.
func (s *stateStore) former(ctx context.Context, p *Plan) (bool, error) {
	rec, err := s.store.Get(ctx, prefixOf(p.ref)+"v")
	if errors.Is(err, meta.ErrNotFound) {
		return false, nil
	}
	_, uid, _ := strings.Cut(string(rec.Value), " ")
	return err == nil && uid != "" && p.spec.UID != "" && uid != string(p.spec.UID), err
}

// ring reads the ids of one commit.
func (r *restored) ring(b []byte) {
	if len(b) < 8 {
		return
	}
	r.seq = max(r.seq, binary.BigEndian.Uint64(b))
	for b = b[8:]; len(b) >= 8; b = b[8:] {
		r.ids[binary.BigEndian.Uint64(b)] = struct{}{}
	}
}

// changes returns the ops for what has changed in the machine since the last call.
func (s *stateStore) changes(m *Machine, ops []meta.Op) []meta.Op {
	for _, n := range m.holders {
		prefix := keyPrefix(m.plan.ref, n.name)
		n.state.changes(func(key string, state []byte) {
			ops = append(ops, meta.Op{Key: prefix + url.PathEscape(key), Value: state, Delete: state == nil})
		})
	}
	return ops
}

// maxBatch is what is applied at once, below the store's limit.
const maxBatch = meta.MaxBatch - 64<<10

// apply applies ops, in one batch if the store can.
func (s *stateStore) apply(ctx context.Context, ops []meta.Op) error {
	for len(ops) > 0 {
		n, size := 0, 0
		for n < len(ops) && size+len(ops[n].Key)+len(ops[n].Value) <= maxBatch {
			size += len(ops[n].Key) + len(ops[n].Value)
			n++
		}
		n = max(n, 1)
		if _, err := s.store.Apply(ctx, ops[:n]...); err != nil {
			return err
		}
		ops = ops[n:]
	}
	return nil
}

// prune removes the state of pipelines that are not wanted.
func (s *stateStore) prune(ctx context.Context, keep func(Ref) bool) error {
	entries, _, err := s.store.Keys(ctx, statePrefix)
	if err != nil {
		return err
	}
	var ops []meta.Op
	for _, e := range entries {
		namespace, rest, _ := strings.Cut(strings.TrimPrefix(e.Key, statePrefix), "/")
		name, _, _ := strings.Cut(rest, "/")
		namespace, err1 := url.PathUnescape(namespace)
		name, err2 := url.PathUnescape(name)
		if err1 != nil || err2 != nil || !keep(Ref{namespace, name}) {
			ops = append(ops, meta.Op{Key: e.Key, Delete: true})
		}
	}
	return s.apply(ctx, ops)
}
