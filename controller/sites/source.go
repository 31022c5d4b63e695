package sites

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

const (
	// firstListWait is how long a list of versions waits for the first list of what a node holds.
	firstListWait = 5 * time.Second
	// confirmedFor is how long an answer of the API server about what a node holds is used.
	confirmedFor = 2 * time.Second
)

// Resources returns the resources for which Source answers, besides those that begin with Prefix.
func Resources() []string { return []string{wire.EdgeSyncsResource} }

// Prefix begins the further resources for which Source answers.
const Prefix = wire.SyncedPrefix

// Source returns what one node holds by EdgeSyncs. A node that does not name the capability
// wire.Synced holds nothing.
func (c *Controller) Source(node string, capabilities []string) hub.Source {
	return &source{c: c, node: node, wants: slices.Contains(capabilities, wire.Synced), turn: semaphore.NewWeighted(1)}
}

type source struct {
	c     *Controller
	node  string
	wants bool

	// Who holds turn may read and write labels and at, and asks the API server.
	turn   *semaphore.Weighted // of one
	labels labels.Set          // of the Node, as the API server said
	at     time.Time
}

func (s *source) Compare(a, b string) int { return cache.Compare(a, b) }

func (s *source) Subscribe(changed func(hub.Key)) (stop func()) {
	if !s.wants {
		return func() {}
	}
	_, unsubscribe := s.c.notifier.Subscribe(s.node, changed)
	return func() { unsubscribe() }
}

// holds returns the plans of the node with their mirrors.
func (s *source) holds() ([]*plan, []*mirror) {
	s.c.mu.RLock()
	defer s.c.mu.RUnlock()
	plans := s.c.nodes[s.node]
	mirrors := make([]*mirror, len(plans))
	for i, p := range plans {
		mirrors[i] = s.c.mirrors[p.sync.UID]
	}
	return plans, mirrors
}

// Versions lists the objects that were read. The node is notified of the others when they arrive.
func (s *source) Versions(ctx context.Context) (iter.Seq2[hub.Key, string], error) {
	if !s.wants {
		return func(func(hub.Key, string) bool) {}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, firstListWait)
	defer cancel()
	wait(ctx, s.c.settled)
	plans, mirrors := s.holds()
	for _, m := range mirrors {
		if m != nil && m.current().err == nil {
			wait(ctx, m.synced)
		}
	}
	return func(yield func(hub.Key, string) bool) {
		for i, p := range plans {
			if mirrors[i] == nil || !mirrors[i].current().synced {
				continue
			}
			if !yield(p.syncKey(), p.version) {
				return
			}
			for _, name := range mirrors[i].names() {
				if version := mirrors[i].version(name); version != "" && !yield(p.key(name), version) {
					return
				}
			}
		}
	}, nil
}

func wait(ctx context.Context, done <-chan struct{}) {
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// Load returns one object, or one of wire.EdgeSyncsResource.
func (s *source) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	if !s.wants {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	load := s.loadObject
	if key.Resource == wire.EdgeSyncsResource {
		load = s.loadSync
	}
	obj, err := load(ctx, key, held)
	if err != nil {
		return hub.Object{}, fmt.Errorf("controller/sites: load %s: %w", key, err)
	}
	return obj, nil
}

func (s *source) loadSync(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	plans, mirrors := s.holds()
	for i, p := range plans {
		if p.sync.Name != key.Name {
			continue
		}
		if mirrors[i] == nil || !mirrors[i].current().synced {
			return hub.Object{}, hub.ErrLagging // the node must not take it for a resource without objects
		}
		version := p.version
		if cache.Compare(held, version) > 0 {
			// The node may have it from a cloudcore that saw another version of the same content.
			item, ok := s.c.syncs.LoadFor(nameOfSync(p.sync), held)
			if !ok || !same(item.Object, p.sync) {
				return hub.Object{}, hub.ErrLagging
			}
			version = item.Version
		}
		body, err := p.edgeSync().Encode()
		if err != nil {
			return hub.Object{}, err
		}
		return hub.Object{Key: key, Version: version, Body: body}, nil
	}
	return s.unlessConfirmed(ctx, key, func(p *plan) bool { return p.sync.Name == key.Name })
}

func (s *source) loadObject(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	name := cache.Name{Namespace: key.Namespace, Name: key.Name}
	plans, mirrors := s.holds()
	var best entry
	var ask []int // plans of which only the API server knows
	covered, late := false, false
	for i, p := range plans {
		if p.stored != key.Resource || !p.covers(key.Namespace) {
			continue
		}
		covered = true
		if mirrors[i] == nil {
			late = true
			continue
		}
		e, answer := mirrors[i].find(name, held)
		switch answer {
		case found:
			if best.body == nil || cache.Compare(best.version, e.version) < 0 {
				best = e
			}
		case unknown:
			ask = append(ask, i)
		case lagging:
			late = true
		}
	}
	switch {
	case best.body != nil:
		return hub.Object{Key: key, Version: best.version, Body: best.body}, nil
	case late:
		return hub.Object{}, hub.ErrLagging
	case !covered:
		return s.unlessConfirmed(ctx, key, func(p *plan) bool { return p.stored == key.Resource && p.covers(key.Namespace) })
	case len(ask) == 0:
		return hub.Object{Key: key, Deleted: true}, nil
	}
	return s.read(ctx, key, plans[ask[0]], mirrorsAt(mirrors, ask))
}

func mirrorsAt(all []*mirror, at []int) []*mirror {
	some := make([]*mirror, len(at))
	for i, n := range at {
		some[i] = all[n]
	}
	return some
}

// read asks the API server for an object that mirrors may have.
func (s *source) read(ctx context.Context, key hub.Key, p *plan, mirrors []*mirror) (hub.Object, error) {
	s.c.counts.reads.Add(1)
	u, err := s.c.cfg.Dynamic.Resource(p.resource).Namespace(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && !notServed(err):
		return hub.Object{Key: key, Deleted: true}, nil
	case err != nil && (forbidden(err) || apierrors.IsNotFound(err)): // the node keeps what it has
		return hub.Object{}, hub.ErrLagging
	case err != nil:
		return hub.Object{}, nodesync.FromAPI(err)
	case !slices.ContainsFunc(mirrors, func(m *mirror) bool { return m.holds(u) }):
		return hub.Object{Key: key, Deleted: true}, nil
	}
	e, err := encode(u)
	if err != nil {
		return hub.Object{}, err
	}
	return hub.Object{Key: key, Version: e.version, Body: e.body}, nil
}

// notServed reports whether a "not found" is about the resource, and not about one object.
func notServed(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// unlessConfirmed removes an object from the node that no EdgeSync gives it, as far as this
// cloudcore knows. Its caches may lag behind what the node has seen, so the API server is asked.
func (s *source) unlessConfirmed(ctx context.Context, key hub.Key, is func(*plan) bool) (hub.Object, error) {
	held, err := s.confirm(ctx)
	if err != nil {
		return hub.Object{}, err
	}
	if slices.ContainsFunc(held, is) {
		return hub.Object{}, hub.ErrLagging
	}
	return hub.Object{Key: key, Deleted: true}, nil
}

// confirm asks the API server what the node holds.
func (s *source) confirm(ctx context.Context) ([]*plan, error) {
	plans, err := s.c.confirmed.get(ctx, s.c.cfg.Dynamic)
	if err != nil {
		return nil, nodesync.FromAPI(err)
	}
	node, err := s.nodeLabels(ctx)
	if err != nil {
		return nil, nodesync.FromAPI(err)
	}
	held, _ := choose(node, plans)
	return held, nil
}

// nodeLabels are the labels of the node as the API server has them.
func (s *source) nodeLabels(ctx context.Context) (labels.Set, error) {
	if err := s.turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer s.turn.Release(1)
	if time.Since(s.at) < confirmedFor {
		return s.labels, nil
	}
	node, err := s.c.cfg.Cloud.CoreV1().Nodes().Get(ctx, s.node, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		s.labels = nil
	case err != nil:
		return nil, err
	default:
		s.labels = labels.Set(node.Labels)
	}
	s.at = time.Now()
	return s.labels, nil
}

// confirmed are the plans as the API server has them, for the removals of many objects of many nodes.
// Who holds turn may read and write the rest, and asks the API server.
type confirmed struct {
	turn  *semaphore.Weighted // of one
	plans []*plan
	at    time.Time
}

// get reads them, if they were not read just now. While another caller reads them it waits, until ctx
// ends.
func (c *confirmed) get(ctx context.Context, client dynamic.Interface) ([]*plan, error) {
	if err := c.turn.Acquire(ctx, 1); err != nil {
		return nil, err
	}
	defer c.turn.Release(1)
	if time.Since(c.at) < confirmedFor {
		return c.plans, nil
	}
	list, err := client.Resource(v1alpha1.GroupVersion().WithResource(v1alpha1.EdgeSyncs)).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	plans := make([]*plan, 0, len(list.Items))
	for i := range list.Items {
		if sync, err := cache.Decode[v1alpha1.EdgeSync](&list.Items[i]); err == nil {
			plans = append(plans, newPlan(sync, ""))
		}
	}
	c.plans, c.at = arrange(plans), time.Now()
	return c.plans, nil
}

func nameOfSync(sync *v1alpha1.EdgeSync) cache.Name { return cache.Name{Name: sync.Name} }
