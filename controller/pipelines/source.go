package pipelines

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
)

// Resources returns the resources for which Source answers.
func Resources() []string { return []string{wire.Pipelines, wire.Inputs} }

// Source returns the Pipelines of a node, with the ConfigMaps and Secrets that they name.
func (c *Controller) Source(node string) hub.Source { return &source{c: c, node: node} }

type source struct {
	c    *Controller
	node string
}

func (s *source) Compare(a, b string) int { return cache.Compare(a, b) }

func (s *source) Subscribe(changed func(hub.Key)) (stop func()) {
	c := s.c
	_, unsubscribe := c.notifier.Subscribe(s.node, changed)
	c.mu.Lock()
	c.attached[s.node]++
	c.mu.Unlock()
	return func() {
		unsubscribe()
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.attached[s.node]--; c.attached[s.node] <= 0 {
			delete(c.attached, s.node)
		}
	}
}

func (s *source) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	list := make(map[hub.Key]string)
	for _, name := range s.c.pipelines.Names() {
		item, ok := s.c.pipelines.Load(name)
		if !ok || !s.c.isFor(item.Object, s.node) {
			continue
		}
		list[keyOf(name)] = item.Version
		for ref := range refsOf(item.Object) {
			if in := s.c.inputs.get(ref); in.there() {
				list[ref.key()] = in.version
			}
		}
	}
	return maps.All(list), nil
}

// Load returns a Pipeline or an input of the node. One that is not known here is gone only if
// the API server says the same.
func (s *source) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	var o hub.Object
	var err error
	if key.Resource == wire.Inputs {
		o, err = s.loadInput(ctx, key, held)
	} else {
		o, err = s.loadPipeline(ctx, key, held)
	}
	if err != nil {
		return hub.Object{}, fmt.Errorf("controller/pipelines: load %s: %w", key, nodesync.FromAPI(err))
	}
	return o, nil
}

func (s *source) loadPipeline(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	name := cache.Name{Namespace: key.Namespace, Name: key.Name}
	if item, ok := s.c.pipelines.LoadFor(name, held); ok && s.c.isFor(item.Object, s.node) {
		return nodesync.Encode(key, item.Version, forNode(item.Object))
	}
	p, err := s.c.get(ctx, name)
	switch {
	case err != nil:
		return hub.Object{}, err
	case p == nil:
		return hub.Object{Key: key, Deleted: true}, nil
	}
	mine, err := s.c.isLive(ctx, p, s.node)
	switch {
	case err != nil:
		return hub.Object{}, err
	case !mine:
		return hub.Object{Key: key, Deleted: true}, nil
	}
	return hub.Object{}, hub.ErrLagging
}

// get reads a Pipeline from the API server; nil if there is none.
func (c *Controller) get(ctx context.Context, name cache.Name) (*v1alpha1.Pipeline, error) {
	u, err := c.client(name.Namespace).Get(ctx, name.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return cache.Decode[v1alpha1.Pipeline](u)
}

func (c *Controller) client(namespace string) dynamic.ResourceInterface {
	return c.cfg.Dynamic.Resource(v1alpha1.GroupVersion().WithResource(wire.Pipelines)).Namespace(namespace)
}

// isLive asks the API server for the labels of a node, and reports whether a Pipeline is for it.
func (c *Controller) isLive(ctx context.Context, p *v1alpha1.Pipeline, node string) (bool, error) {
	if p.Spec.NodeName != "" {
		return p.Spec.NodeName == node, nil
	}
	n, err := c.cfg.Cloud.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return matches(p, node, labels.Set(n.Labels), true), nil
}

// forNode is what a node gets of a Pipeline.
func forNode(p *v1alpha1.Pipeline) *v1alpha1.Pipeline {
	own := &v1alpha1.Pipeline{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.Kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, Generation: p.Generation},
		Spec:       p.Spec,
	}
	own.Spec.Tests = nil // they are for edgectl
	return own
}

// loadInput returns a ConfigMap or Secret that a Pipeline of the node names.
func (s *source) loadInput(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	kind, name, ok := wire.ParseInputName(key.Name)
	if !ok {
		return hub.Object{Key: key, Deleted: true}, nil
	}
	ref := inputRef{kind, key.Namespace, name}
	if named, err := s.named(ctx, ref); err != nil || !named {
		return hub.Object{Key: key, Deleted: err == nil}, err
	}
	in := s.c.inputs.get(ref)
	switch {
	case in.there() && cache.Compare(held, in.version) <= 0:
		body, err := json.Marshal(in.content)
		return hub.Object{Key: key, Version: in.version, Body: body}, err
	case in.known && in.reason == reasonMissing:
		return hub.Object{Key: key, Deleted: true}, nil
	}
	// Not read yet, or no longer allowed: the node keeps what it has.
	return hub.Object{}, hub.ErrLagging
}

// named reports whether a Pipeline of the node names an input, by the API server's word if the
// cache has none.
func (s *source) named(ctx context.Context, ref inputRef) (bool, error) {
	for _, p := range s.c.pipelines.Objects() {
		if _, ok := refsOf(p)[ref]; ok && s.c.isFor(p, s.node) {
			return true, nil
		}
	}
	list, err := s.c.client(ref.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return false, err
	}
	for i := range list.Items {
		p, err := cache.Decode[v1alpha1.Pipeline](&list.Items[i])
		if err != nil {
			continue // the schema forbids it
		}
		if _, ok := refsOf(p)[ref]; !ok {
			continue
		}
		if mine, err := s.c.isLive(ctx, p, s.node); err != nil || mine {
			return mine, err
		}
	}
	return false, nil
}
