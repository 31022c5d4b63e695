package sync

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
)

// Part is a Source for some resources.
type Part struct {
	Resources []string // those that Source answers for, for example "pods"
	// Prefix is how further resources begin for which Source answers; "" is none.
	Prefix string
	Source hub.Source
}

// Union makes one Source of several. Each resource belongs to one part; a
// resource named twice is a fault of the program and panics. Versions are
// Kubernetes resource versions.
func Union(parts ...Part) hub.Source {
	u := &union{parts: parts, owner: make(map[string]hub.Source)}
	for _, p := range parts {
		for _, resource := range p.Resources {
			if u.owner[resource] != nil {
				panic("sync: two sources for " + resource)
			}
			u.owner[resource] = p.Source
		}
	}
	return u
}

type union struct {
	parts []Part
	owner map[string]hub.Source
}

func (u *union) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	all := make([]iter.Seq2[hub.Key, string], 0, len(u.parts))
	for _, p := range u.parts {
		versions, err := p.Source.Versions(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, versions)
	}
	return func(yield func(hub.Key, string) bool) {
		for _, versions := range all {
			for key, version := range versions {
				if !yield(key, version) {
					return
				}
			}
		}
	}, nil
}

func (u *union) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	owner := u.ownerOf(key.Resource)
	if owner == nil {
		// A resource that no part here has may come from a newer cloudcore, so its
		// objects do not count as deleted.
		return hub.Object{}, &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("no source for resource %q", key.Resource)}
	}
	return owner.Load(ctx, key, held)
}

// ownerOf returns the part of a resource; nil if there is none.
func (u *union) ownerOf(resource string) hub.Source {
	if owner := u.owner[resource]; owner != nil {
		return owner
	}
	for _, p := range u.parts {
		if p.Prefix != "" && strings.HasPrefix(resource, p.Prefix) {
			return p.Source
		}
	}
	return nil
}

func (u *union) Compare(a, b string) int { return cache.Compare(a, b) }

func (u *union) Subscribe(changed func(hub.Key)) (stop func()) {
	stops := make([]func(), 0, len(u.parts))
	for _, p := range u.parts {
		stops = append(stops, p.Source.Subscribe(changed))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// Notifier notifies subscribers, by node, of changed keys. The zero value is
// ready; its methods may be called by several goroutines at once.
type Notifier struct {
	mu   sync.RWMutex
	next uint64
	subs map[string]map[uint64]func(hub.Key)
}

// Subscribe calls changed with each key of which node is notified after Subscribe has returned.
// first reports that the node had no subscriber before; stop reports that it has none left. A
// second stop does nothing and returns false.
func (n *Notifier) Subscribe(node string, changed func(hub.Key)) (first bool, stop func() (last bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.subs == nil {
		n.subs = make(map[string]map[uint64]func(hub.Key))
	}
	if n.subs[node] == nil {
		n.subs[node] = make(map[uint64]func(hub.Key))
		first = true
	}
	n.next++
	id := n.next
	n.subs[node][id] = changed
	return first, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		if _, ok := n.subs[node][id]; !ok {
			return false
		}
		delete(n.subs[node], id)
		if len(n.subs[node]) > 0 {
			return false
		}
		delete(n.subs, node)
		return true
	}
}

// Subscribed reports that the node has a subscriber: a session here.
func (n *Notifier) Subscribed(node string) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return len(n.subs[node]) > 0
}

// Notify calls the subscribers of node with each key, with no lock held.
func (n *Notifier) Notify(node string, keys ...hub.Key) {
	n.mu.RLock()
	subs := make([]func(hub.Key), 0, len(n.subs[node]))
	for _, changed := range n.subs[node] {
		subs = append(subs, changed)
	}
	n.mu.RUnlock()
	for _, changed := range subs {
		for _, key := range keys {
			changed(key)
		}
	}
}
