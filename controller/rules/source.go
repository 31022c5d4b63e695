package rules

import (
	"context"
	"fmt"
	"iter"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/resources"
)

// Resources returns the resources for which Source answers.
func Resources() []string { return []string{resources.Rules} }

// Source returns the rules of a node: those in force whose source is on it.
func (c *Controller) Source(node string) hub.Source { return &source{c: c, node: node} }

type source struct {
	c    *Controller
	node string
}

func (s *source) Compare(a, b string) int { return cache.Compare(a, b) }

func (s *source) Subscribe(changed func(hub.Key)) (stop func()) {
	_, unsubscribe := s.c.notifier.Subscribe(s.node, changed)
	return func() { unsubscribe() }
}

func (s *source) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	list := make(map[hub.Key]string)
	for name := range s.c.byNode[s.node] {
		if r := s.c.namespaces[name.Namespace][name.Name]; r.ok() {
			list[hub.Key{Resource: resources.Rules, Namespace: name.Namespace, Name: name.Name}] = r.version
		}
	}
	return maps.All(list), nil
}

// Load returns a rule of the node. A rule that is not in the cache, or not in force there,
// is gone only if the API server says the same.
func (s *source) Load(ctx context.Context, key hub.Key, held string) (hub.Object, error) {
	r := s.c.rule(cache.Name{Namespace: key.Namespace, Name: key.Name})
	if r.ok() && r.node() == s.node {
		version := r.version
		if cache.Compare(held, version) > 0 { // a change of status alone has newer versions
			version = r.rule.ResourceVersion
		}
		if cache.Compare(held, version) > 0 {
			return hub.Object{}, fmt.Errorf("controller/rules: load %s: %w", key, hub.ErrLagging)
		}
		return nodesync.Encode(key, version, forNode(r.rule))
	}
	gone, err := s.gone(ctx, key)
	if err != nil {
		return hub.Object{}, fmt.Errorf("controller/rules: load %s: %w", key, nodesync.FromAPI(err))
	}
	if !gone {
		return hub.Object{}, fmt.Errorf("controller/rules: load %s: %w", key, hub.ErrLagging)
	}
	return hub.Object{Key: key, Deleted: true}, nil
}

// gone asks the API server whether the node has no such rule.
func (s *source) gone(ctx context.Context, key hub.Key) (bool, error) {
	u, err := s.c.ruleClient(key.Namespace).Get(ctx, key.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	rule, err := cache.Decode[v1.Rule](u)
	if err != nil || string(rule.Spec.SourceResource[v1.KeyNodeName]) != s.node {
		return err == nil, err
	}
	var failed error
	all := resolve([]cache.Item[*v1.Rule]{{Object: rule, Version: rule.ResourceVersion}}, func(name string) (item cache.Item[*v1.RuleEndpoint], ok bool) {
		u, err := s.c.cfg.Dynamic.Resource(v1.GroupVersion().WithResource(resources.RuleEndpoints)).Namespace(key.Namespace).Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return item, false
		}
		if err == nil {
			item.Object, err = cache.Decode[v1.RuleEndpoint](u)
		}
		if err != nil {
			failed = err
			return item, false
		}
		item.Version = item.Object.ResourceVersion
		return item, true
	})
	return !all[0].ok(), failed
}

// forNode is what a node gets of a Rule.
func forNode(r *v1.Rule) *v1.Rule {
	return &v1.Rule{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1.GroupVersion().String(), Kind: "Rule"},
		ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: r.Name, UID: r.UID, ResourceVersion: r.ResourceVersion, Generation: r.Generation},
		Spec:       r.Spec,
	}
}
