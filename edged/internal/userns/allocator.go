package userns

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/meta"
)

// prefix of the keys in the store; a pod's uid follows.
const prefix = meta.Local + "edged/userns/"

// Store is the part of a meta.Store that an Allocator needs.
type Store interface {
	Apply(ctx context.Context, ops ...meta.Op) (uint64, error)
	List(ctx context.Context, prefix string) ([]meta.Record, uint64, error)
}

// Config sets up an Allocator. Files may be left out.
type Config struct {
	PerPod  uint32 // ids of each pod; 0 means Unit
	MaxPods int    // how many pods must find room
	Files   Files  // where the ids of the user kubelet are written down
	Store   Store  // remembers the ranges; nil leaves that to the sandboxes
}

// Allocator gives each pod a range of ids.
type Allocator struct {
	cfg Config

	mu   sync.Mutex
	ids  span
	used map[string]runtime.UserNamespace // by the pod's uid
}

// New makes an Allocator. It does no I/O.
func New(cfg Config) *Allocator {
	if cfg.PerPod == 0 {
		cfg.PerPod = Unit
	}
	return &Allocator{cfg: cfg, used: make(map[string]runtime.UserNamespace)}
}

// Open reads which ids there are and which pods have some. It must return before any
// other call.
func (a *Allocator) Open(ctx context.Context) error {
	ids, found, err := a.cfg.Files.read()
	if err != nil {
		return fmt.Errorf("ids for user namespaces: %w", err)
	}
	if !found {
		ids = defaults(a.cfg.PerPod)
	}
	if err := a.check(ids); err != nil {
		return err
	}
	used := make(map[string]runtime.UserNamespace)
	if a.cfg.Store != nil {
		records, _, err := a.cfg.Store.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("ids for user namespaces: %w", err)
		}
		for _, r := range records {
			if u, ok := Parse(string(r.Value)); ok {
				used[strings.TrimPrefix(r.Key, prefix)] = u
			}
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids, a.used = ids, used
	return nil
}

// check says why pods cannot have these ids. The rules are the kubelet's.
func (a *Allocator) check(ids span) error {
	per, count := uint64(a.cfg.PerPod), ids.end-ids.first
	bad := func(why string) error {
		return fmt.Errorf("the ids %d to %d of the user %s in /etc/subuid %s", ids.first, ids.end-1, owner, why)
	}
	switch {
	case ids.first < per:
		return bad(fmt.Sprintf("begin below %d, where the host's own are: use a larger first id", per))
	case ids.first%per != 0 || count%per != 0:
		return bad(fmt.Sprintf("are no multiple of %d: use multiples for the first id and for their number", per))
	case count/per < uint64(a.cfg.MaxPods):
		return fmt.Errorf("%d ids for user namespaces are not enough for %d pods with %d each: give the user %s more in /etc/subuid and /etc/subgid, or lower --max-pods or --user-namespaces-ids-per-pod", count, a.cfg.MaxPods, per, owner)
	}
	return nil
}

// ErrNone says that all ranges are taken.
var ErrNone = errors.New("could not find an empty slot to allocate a user namespace: all ids are given to pods")

// Allocate gives a pod its range, the one that it has if it has one. It is stored when
// Allocate returns.
func (a *Allocator) Allocate(ctx context.Context, uid string) (runtime.UserNamespace, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if u, ok := a.used[uid]; ok {
		return u, nil
	}
	u, ok := a.freeLocked()
	if !ok {
		return u, ErrNone
	}
	if a.cfg.Store != nil {
		if _, err := a.cfg.Store.Apply(ctx, meta.Op{Key: prefix + uid, Value: []byte(Format(u))}); err != nil {
			return u, fmt.Errorf("cannot store the ids of a user namespace: %w", err)
		}
	}
	a.used[uid] = u
	return u, nil
}

// freeLocked finds the first range that overlaps no other. Those that were given with
// other settings may lie anywhere.
func (a *Allocator) freeLocked() (runtime.UserNamespace, bool) {
	per := uint64(a.cfg.PerPod)
	for first := a.ids.first; first+per <= a.ids.end; {
		past := a.takenLocked(span{first, first + per})
		if past == 0 {
			return runtime.UserNamespace{First: uint32(first), Length: a.cfg.PerPod}, true
		}
		// The next multiple after what is in the way.
		first = a.ids.first + (past-a.ids.first+per-1)/per*per
	}
	return runtime.UserNamespace{}, false
}

// takenLocked is where a range ends that overlaps want; 0 if none does.
func (a *Allocator) takenLocked(want span) uint64 {
	for _, u := range a.used {
		if s := spanOf(u); s.overlaps(want) {
			return s.end
		}
	}
	return 0
}

// Of is the range of a pod; false if it has none.
func (a *Allocator) Of(uid string) (runtime.UserNamespace, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	u, ok := a.used[uid]
	return u, ok
}

// Found notes a range that a sandbox of a pod has. What the store says of the pod counts
// more.
func (a *Allocator) Found(uid string, u runtime.UserNamespace) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.used[uid]; !ok {
		a.used[uid] = u
	}
}

// Release takes a pod's range back: nothing of the pod is left. A range that the store
// cannot forget now is free all the same, and forgotten by Keep after the next start.
func (a *Allocator) Release(ctx context.Context, uid string) error {
	a.mu.Lock()
	_, had := a.used[uid]
	delete(a.used, uid)
	a.mu.Unlock()
	if !had || a.cfg.Store == nil {
		return nil
	}
	_, err := a.cfg.Store.Apply(ctx, meta.Op{Key: prefix + uid, Delete: true})
	return err
}

// Keep releases the ranges of all pods for which is reports false: nothing of them is left.
func (a *Allocator) Keep(ctx context.Context, is func(uid string) bool) error {
	a.mu.Lock()
	uids := slices.Collect(maps.Keys(a.used))
	a.mu.Unlock()
	var failed error
	for _, uid := range uids {
		if !is(uid) {
			failed = errors.Join(failed, a.Release(ctx, uid))
		}
	}
	return failed
}
