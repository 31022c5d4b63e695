package sites

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/sites/v1alpha1"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// Bounds that hold for all EdgeSyncs together.
const (
	maxSyncs       = 1000      // that a cloudcore serves
	maxNodeSyncs   = 256       // of one node
	maxNodeObjects = 50_000    // of one node; the link compares 100,000 keys at most
	maxNodeBytes   = 512 << 20 // of one node
)

// plan is an EdgeSync as it is followed. It does not change once it is made.
type plan struct {
	sync     *v1alpha1.EdgeSync // shared
	version  string             // of what nodes get of it
	resource schema.GroupVersionResource
	stored   string          // the resource of its objects on the link
	objects  labels.Selector // of its objects
	nodes    labels.Selector // nil: groups
	groups   map[string]bool
	limit    limit
	problem  *problem // why nothing can be done; nil if something can
}

// limit bounds the objects of a plan.
type limit struct {
	objects int
	bytes   int64
}

// problem is why an EdgeSync cannot be done, for its condition Ready.
type problem struct{ reason, message string }

// newPlan reads the spec of an EdgeSync.
func newPlan(sync *v1alpha1.EdgeSync, version string) *plan {
	r := sync.Spec.Resource
	p := &plan{
		sync: sync, version: version, resource: schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Resource},
		stored: wire.SyncedResource(r.Group, r.Version, r.Resource),
	}
	p.problem = p.read()
	return p
}

func (p *plan) read() *problem {
	spec := &p.sync.Spec
	if why := refused(p.resource.GroupResource()); why != "" {
		return &problem{v1alpha1.ReasonNotAllowed, fmt.Sprintf("spec.resource: no EdgeSync may have %s: %s", p.resource.GroupResource(), why)}
	}
	invalid := func(field string, err error) *problem {
		return &problem{v1alpha1.ReasonInvalid, field + ": " + err.Error()}
	}
	if p.resource.Version == "" || p.resource.Resource == "" || strings.ContainsAny(p.resource.Version+p.resource.Resource, "./") {
		return invalid("spec.resource", errors.New("give the version, such as v1, and the plural name in lower case"))
	}
	var err error
	if p.objects, err = metav1.LabelSelectorAsSelector(cmp.Or(spec.LabelSelector, &metav1.LabelSelector{})); err != nil {
		return invalid("spec.labelSelector", err)
	}
	if (spec.NodeSelector == nil) == (len(spec.NodeGroups) == 0) {
		return invalid("spec", errors.New("set exactly one of nodeSelector and nodeGroups"))
	}
	if spec.NodeSelector != nil {
		if p.nodes, err = metav1.LabelSelectorAsSelector(spec.NodeSelector); err != nil {
			return invalid("spec.nodeSelector", err)
		}
	}
	p.groups = make(map[string]bool, len(spec.NodeGroups))
	for _, g := range spec.NodeGroups {
		p.groups[string(g)] = true
	}
	p.limit = limit{objects: cmp.Or(int(spec.Limit.Objects), v1alpha1.DefaultObjects), bytes: v1alpha1.DefaultBytes}
	if q := spec.Limit.Bytes; q != nil {
		p.limit.bytes = q.Value()
	}
	if p.limit.bytes <= 0 || p.limit.bytes > v1alpha1.MaxBytes || p.limit.objects < 0 {
		return invalid("spec.limit", errors.New("bytes must be above 0 and at most 256Mi, and objects must not be negative"))
	}
	if names := p.sync.Status.Names; names != nil && !names.Namespaced && len(spec.Namespaces) > 0 {
		return invalid("spec.namespaces", fmt.Errorf("%s belong to no namespace: remove the namespaces", p.resource.GroupResource()))
	}
	return nil
}

// active reports whether nodes hold objects of the plan.
func (p *plan) active() bool { return p.problem == nil && p.sync.Status.Names != nil }

// chooses reports whether a node with these labels holds the objects.
func (p *plan) chooses(node labels.Set) bool {
	if p.nodes != nil {
		return p.nodes.Matches(node)
	}
	return p.groups[node[wire.GroupLabel]]
}

// covers reports whether an object of the namespace may be one of the plan's.
func (p *plan) covers(namespace string) bool {
	return len(p.sync.Spec.Namespaces) == 0 || slices.Contains(p.sync.Spec.Namespaces, v1alpha1.Namespace(namespace))
}

// namespaces returns those to read, of which "" is all.
func (p *plan) namespaces() []string {
	if len(p.sync.Spec.Namespaces) == 0 {
		return []string{metav1.NamespaceAll}
	}
	all := make([]string, 0, len(p.sync.Spec.Namespaces))
	for _, n := range p.sync.Spec.Namespaces {
		all = append(all, string(n))
	}
	// In the order of the API server's keys, which have a slash behind the namespace.
	slices.SortFunc(all, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	return slices.Compact(all)
}

// sameObjects reports whether two plans have the same objects, so that one mirror is for both.
func (p *plan) sameObjects(q *plan) bool {
	return p.sync.UID == q.sync.UID && p.resource == q.resource && p.limit == q.limit && p.objects.String() == q.objects.String() &&
		slices.Equal(p.namespaces(), q.namespaces()) && p.sync.Status.Names.Namespaced == q.sync.Status.Names.Namespaced
}

// edgeSync is what a node gets of the EdgeSync.
func (p *plan) edgeSync() wire.EdgeSync {
	names := p.sync.Status.Names
	e := wire.EdgeSync{
		Group: p.resource.Group, Version: p.resource.Version, Resource: p.resource.Resource,
		Kind: names.Kind, Singular: names.Singular, ShortNames: names.ShortNames, Namespaced: names.Namespaced,
		Some: !p.objects.Empty() || limited(p.sync),
	}
	if len(p.sync.Spec.Namespaces) > 0 {
		e.Namespaces = p.namespaces()
	}
	return e
}

// older orders plans by the age of their EdgeSyncs.
func older(a, b *plan) int {
	return cmp.Or(a.sync.CreationTimestamp.Compare(b.sync.CreationTimestamp.Time), strings.Compare(a.sync.Name, b.sync.Name))
}

// choose returns the plans whose objects a node with these labels holds, of all plans from the oldest to
// the newest, and those for which it has no room.
func choose(node labels.Set, all []*plan) (held, full []*plan) {
	room := limit{objects: maxNodeObjects, bytes: maxNodeBytes}
	for _, p := range all {
		if !p.active() || !p.chooses(node) {
			continue
		}
		if len(held) == maxNodeSyncs || p.limit.objects > room.objects || p.limit.bytes > room.bytes {
			full = append(full, p)
			continue
		}
		room.objects -= p.limit.objects
		room.bytes -= p.limit.bytes
		held = append(held, p)
	}
	return held, full
}

// arrange sorts the plans by age, and gives those beyond maxSyncs a problem. One that had that problem and is
// no longer beyond them is read again.
func arrange(all []*plan) []*plan {
	slices.SortFunc(all, older)
	for i, p := range all[:min(len(all), maxSyncs)] {
		if p.problem != nil && p.problem.reason == v1alpha1.ReasonTooMany {
			all[i] = newPlan(p.sync, p.version)
		}
	}
	for i := maxSyncs; i < len(all); i++ {
		late := *all[i]
		late.problem = &problem{v1alpha1.ReasonTooMany, fmt.Sprintf("there are %d EdgeSyncs, and cloudcore serves the oldest %d: delete some", len(all), maxSyncs)}
		all[i] = &late
	}
	return all
}

// refused says why no EdgeSync may have a resource; "" if one may.
func refused(r schema.GroupResource) string {
	const held, secret = "nodes hold what they need of it in any case", "it holds credentials"
	switch r.Group {
	case "":
		switch r.Resource {
		case "secrets":
			return secret
		case "configmaps", "events", "namespaces", "nodes", "pods", "services", "endpoints":
			return held
		}
	case "discovery.k8s.io":
		return held
	case "networking.k8s.io":
		if r.Resource == "servicecidrs" {
			return held
		}
	case "events.k8s.io", "rbac.authorization.k8s.io", v1alpha1.Group:
		return held
	case "devices.kubeedge.io":
		if r.Resource != "devicestatuses" {
			return held
		}
	case "authentication.k8s.io", "authorization.k8s.io":
		return "it has no objects"
	}
	return ""
}

// limited reports whether the condition LimitExceeded is True.
func limited(sync *v1alpha1.EdgeSync) bool {
	return slices.ContainsFunc(sync.Status.Conditions, func(c metav1.Condition) bool {
		return c.Type == v1alpha1.ConditionLimitExceeded && c.Status == metav1.ConditionTrue
	})
}

// syncKey is the key of what a node gets of the EdgeSync.
func (p *plan) syncKey() hub.Key { return hub.Key{Resource: wire.EdgeSyncsResource, Name: p.sync.Name} }

// key is the key of an object on the link.
func (p *plan) key(name cache.Name) hub.Key {
	return hub.Key{Resource: p.stored, Namespace: name.Namespace, Name: name.Name}
}
