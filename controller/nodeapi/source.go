package nodeapi

import (
	"context"
	"fmt"
	"iter"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/resources"
)

// Source returns the state that one node gets for the capabilities in its hello. Objects of a
// capability that the node no longer has are removed from it.
func (c *Controller) Source(name string, capabilities []string) hub.Source {
	return &source{c: c, node: name, capabilities: slices.Clone(capabilities)}
}

type source struct {
	c            *Controller
	node         string
	capabilities []string
}

func (s *source) wants(capability string) bool {
	switch capability {
	case namespaces:
		return s.wants(wire.Access) || s.wants(wire.Services)
	case wire.Tokens:
		return s.declared(wire.Tokens) || s.declared(wire.Access)
	case wire.Groups:
		return s.declared(wire.Groups) && s.wants(wire.Services)
	case wire.Services:
		return s.declared(capability) && s.c.mayHaveServices(s.node)
	}
	return s.declared(capability)
}

// declared reports whether the node named a capability, allowed or not.
func (s *source) declared(capability string) bool { return slices.Contains(s.capabilities, capability) }

// wantsAll reports whether this session gets all objects of a kind that it wants,
// not only those that its node's pods need.
func (s *source) wantsAll(k *kind) bool {
	return k.capability == wire.Services || k.capability == wire.Groups || k.capability == namespaces && s.wants(wire.Services)
}

// wantsKey reports whether this session gets objects of the key's resource.
func (s *source) wantsKey(key hub.Key) bool {
	if key.Resource == wire.IssuerResource {
		return s.wants(wire.Tokens)
	}
	k := s.c.kinds[key.Resource]
	return k != nil && s.wants(k.capability)
}

// mayHold reports whether the node named a capability by which it might hold the
// key. Objects that it may no longer have are removed from it.
func (s *source) mayHold(key hub.Key) bool {
	if s.wantsKey(key) {
		return true
	}
	k := s.c.kinds[key.Resource]
	if k != nil && k.capability == wire.Groups && !s.declared(wire.Groups) {
		return false
	}
	return k != nil && k.capability != wire.Access && s.declared(wire.Services)
}

func (s *source) Compare(a, b string) int { return cache.Compare(a, b) }

func (s *source) Subscribe(changed func(hub.Key)) (stop func()) {
	c := s.c
	_, unsubscribe := c.notifier.Subscribe(s.node, func(key hub.Key) {
		if s.mayHold(key) {
			changed(key)
		}
	})
	access, tokens, services := s.wants(wire.Access), s.wants(wire.Tokens), s.declared(wire.Services)
	allowed := services && c.mayHaveServices(s.node)
	if services && !allowed {
		c.cfg.Logger.Warn("a node asks for all Services, but no operator has allowed it, so its DNS and kube-proxy get none: label the Node if it should have them", "node", s.node, "label", ServicesLabel)
	}
	c.mu.Lock()
	if access || allowed {
		c.watchLocked(namespaces)
	}
	if access {
		if c.nodes[s.node] == nil {
			c.nodes[s.node] = &node{}
		}
		c.nodes[s.node].subscribers++
		c.watchLocked(wire.Access)
	}
	if tokens {
		c.tokens[s.node]++
		c.watchLocked(wire.Tokens)
	}
	if services {
		c.services[s.node]++
	}
	if allowed {
		c.watchLocked(wire.Services)
	}
	c.mu.Unlock()
	if access {
		c.podsChanged(s.node)
	}
	return func() {
		unsubscribe()
		c.mu.Lock()
		defer c.mu.Unlock()
		if n := c.nodes[s.node]; access && n != nil {
			if n.subscribers--; n.subscribers == 0 {
				delete(c.nodes, s.node)
			}
		}
		if tokens {
			if c.tokens[s.node]--; c.tokens[s.node] <= 0 {
				delete(c.tokens, s.node)
			}
		}
		if services {
			if c.services[s.node]--; c.services[s.node] <= 0 {
				delete(c.services, s.node)
			}
		}
	}
}

// Versions lists the objects in the caches. The node is notified of the others when they
// arrive.
func (s *source) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	ctx, cancel := context.WithTimeout(ctx, firstListWait)
	defer cancel()
	var kinds []*kind
	for _, k := range s.c.kinds {
		if s.wants(k.capability) && wait(ctx, k.store.Synced()) {
			kinds = append(kinds, k)
		}
	}
	if s.wants(wire.Tokens) {
		wait(ctx, s.c.issuer.known())
	}
	needs := s.needs()
	return func(yield func(hub.Key, string) bool) {
		if _, version, ok := s.c.issuer.load(); ok && s.wants(wire.Tokens) && !yield(hub.Key(wire.IssuerKey()), version) {
			return
		}
		for _, k := range kinds {
			for _, name := range k.store.Names() {
				key := hub.Key{Resource: k.resource, Namespace: name.Namespace, Name: name.Name}
				if _, needed := needs[key]; !needed && !s.wantsAll(k) {
					continue
				}
				if version, ok := k.store.version(name); ok && !yield(key, version) {
					return
				}
			}
		}
	}, nil
}

func wait(ctx context.Context, done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// needs returns the objects that the node needs for its pods' service accounts.
func (s *source) needs() map[hub.Key]struct{} {
	accounts := s.c.cfg.Accounts.Accounts(s.node)
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.c.needsLocked(accounts)
}

func (s *source) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	obj, err := s.load(ctx, key, held)
	if err != nil {
		return hub.Object{}, fmt.Errorf("nodeapi: load %s: %w", key, nodesync.FromAPI(err))
	}
	return obj, nil
}

func (s *source) load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	if !s.wantsKey(key) {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	if key.Resource == wire.IssuerResource {
		body, version, ok := s.c.issuer.load()
		if !ok {
			return hub.Object{}, hub.ErrLagging
		}
		return hub.Object{Key: key, Version: version, Body: body}, nil
	}
	k := s.c.kinds[key.Resource]
	select {
	case <-k.store.Synced():
	default:
		return hub.Object{}, hub.ErrLagging
	}
	name := cache.Name{Namespace: key.Namespace, Name: key.Name}
	if !s.wantsAll(k) {
		if _, needed := s.needs()[key]; !needed {
			return s.loadUnneeded(ctx, k, key, name)
		}
	}
	if obj, version, ok := k.store.load(name, held); ok {
		return nodesync.Encode(key, version, obj)
	}
	obj, err := k.store.read(ctx, name)
	if apierrors.IsNotFound(err) {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	if err != nil {
		return hub.Object{}, err
	}
	return nodesync.Encode(key, obj.GetResourceVersion(), obj)
}

// loadUnneeded removes from the node an RBAC object or a Namespace that no pod there needs any
// more. A binding is first read from the API server, because the cache may lag behind the node.
func (s *source) loadUnneeded(ctx context.Context, k *kind, key hub.Key, name cache.Name) (hub.Object, error) {
	gone := hub.Object{Key: key, Deleted: true}
	if key.Resource != resources.RoleBindings && key.Resource != resources.ClusterRoleBindings {
		return gone, nil
	}
	obj, err := k.store.read(ctx, name)
	if apierrors.IsNotFound(err) {
		return gone, nil
	}
	if err != nil {
		return hub.Object{}, err
	}
	b := newBindings()
	switch o := obj.(type) {
	case *rbacv1.RoleBinding:
		b.add(key, o.Subjects, o.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		b.add(key, o.Subjects, o.RoleRef)
	}
	if len(b.needs(s.c.cfg.Accounts.Accounts(s.node))) > 0 {
		return hub.Object{}, hub.ErrLagging
	}
	return gone, nil
}
