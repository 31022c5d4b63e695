package apiserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// maxSynced is how many EdgeSyncs of a node are served.
const maxSynced = 256

// synced are the resources that EdgeSyncs have the node hold. follow reads them again when one
// changes; without it they are read for each request.
type synced struct {
	mu        sync.Mutex
	following bool
	stale     bool
	all       []*served
}

// coverage is what the node holds of a resource by EdgeSyncs.
type coverage struct {
	all        bool            // an EdgeSync is about all namespaces
	namespaces map[string]bool // that EdgeSyncs are about
	whole      map[string]bool // namespaces of which all objects are held; "" is all of them
}

// has reports whether objects of a namespace, or of some namespace for "", are held.
func (c *coverage) has(namespace string) bool {
	return c.all || namespace == "" || c.namespaces[namespace]
}

// hasWhole reports whether all objects of a namespace are held.
func (c *coverage) hasWhole(namespace string) bool { return c.whole[""] || c.whole[namespace] }

// resources returns the resources as they are now.
func (k *synced) resources(ctx context.Context, s *Server) ([]*served, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.following && !k.stale {
		return k.all, nil
	}
	all, err := s.readSynced(ctx)
	if err == nil {
		k.all, k.stale = all, false
	}
	return all, err
}

// set notes that the resources may have changed, and whether changes are followed from now on.
func (k *synced) set(following bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.following, k.stale = following, true
}

// follow notes changes of the node's EdgeSyncs until ctx ends or the store fails.
func (k *synced) follow(ctx context.Context, store meta.Store) error {
	defer k.set(false)
	for ctx.Err() == nil {
		revision, err := store.Apply(ctx)
		if err != nil {
			return err
		}
		changes, err := meta.WatchPrefixes(ctx, store, []string{meta.Down + wire.EdgeSyncsResource + "/"}, revision)
		if errors.Is(err, meta.ErrCompacted) {
			continue
		}
		if err != nil {
			return err
		}
		k.set(true)
		for range changes {
			k.set(true)
		}
		k.set(false)
	}
	return nil
}

// readSynced reads the node's EdgeSyncs. One that cannot be read is logged and left out.
func (s *Server) readSynced(ctx context.Context) ([]*served, error) {
	records, _, err := s.cfg.Store.List(ctx, meta.Down+wire.EdgeSyncsResource+"/")
	if err != nil {
		return nil, err
	}
	var all []*served
	for _, record := range records[:min(len(records), maxSynced)] {
		stored, err := meta.DecodeObject(meta.Down, record)
		var sync wire.EdgeSync
		if err == nil {
			sync, err = wire.DecodeEdgeSync(stored.Body)
		}
		if err != nil {
			s.cfg.Logger.Warn("stored EdgeSync cannot be read", "key", record.Key, "err", err)
			continue
		}
		all = addSynced(all, sync)
	}
	return all, nil
}

// addSynced adds what one EdgeSync is about.
func addSynced(all []*served, e wire.EdgeSync) []*served {
	i := slices.IndexFunc(all, func(r *served) bool { return r.Group == e.Group && r.Version == e.Version && r.Name == e.Resource })
	if i < 0 {
		i = len(all)
		all = append(all, &served{
			Resource: Resource{
				Group: e.Group, Version: e.Version, Name: e.Resource, Singular: cmp.Or(e.Singular, strings.ToLower(e.Kind)),
				Kind: e.Kind, Short: e.ShortNames, Namespaced: e.Namespaced,
			},
			stored: wire.SyncedResource(e.Group, e.Version, e.Resource),
			synced: &coverage{namespaces: make(map[string]bool), whole: make(map[string]bool)},
		})
	}
	c := all[i].synced
	if len(e.Namespaces) == 0 {
		c.all = true
		c.whole[""] = c.whole[""] || !e.Some
	}
	for _, namespace := range e.Namespaces {
		c.namespaces[namespace] = true
		c.whole[namespace] = c.whole[namespace] || !e.Some
	}
	return all
}

// resources returns all that are served from the store: those that every node has, and those of
// EdgeSyncs.
func (s *Server) resources(ctx context.Context) ([]*served, error) {
	more, err := s.synced.resources(ctx, s)
	if err != nil || len(more) == 0 {
		return s.catalog.all, err
	}
	all := slices.Clone(s.catalog.all)
	for _, r := range more {
		if s.catalog.find(r.Group, r.Version, r.Name) == nil {
			all = append(all, r)
		}
	}
	return all, nil
}

// find returns the resource of a request, nil if it is not served from the store.
func (s *Server) find(ctx context.Context, group, version, name string) (*served, error) {
	if r := s.catalog.find(group, version, name); r != nil {
		return r, nil
	}
	more, err := s.synced.resources(ctx, s)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(more, func(r *served) bool { return r.Group == group && r.Version == version && r.Name == name })
	if i < 0 {
		return nil, nil //nolint:nilnil // not served from the store
	}
	return more[i], nil
}

// checkSynced returns an error for a namespace of which no EdgeSync has the node hold anything: a
// client must not take that for a namespace without such objects.
func (s *Server) checkSynced(r *served, namespace string) error {
	if r.synced == nil || r.synced.has(namespace) {
		return nil
	}
	return offline(request{group: r.Group, resource: r.Name}, fmt.Sprintf(
		"this node does not hold the %s of namespace %s: no EdgeSync for this node names the namespace", r.groupResource(), namespace))
}

// knownAbsent reports whether an object that is not in the store does not exist, since the node
// holds all of its namespace.
func (s *Server) knownAbsent(ctx context.Context, r *served, namespace string) (bool, error) {
	if r.synced == nil || !r.synced.hasWhole(namespace) {
		return false, nil
	}
	return meta.Synced(ctx, s.cfg.Store)
}
