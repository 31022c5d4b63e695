package console

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/third_party/forked/golang/btree"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

const (
	maxLabels     = 200 // of one node
	maxConditions = 64
	holderTime    = 2 * time.Second // to ask who holds a node
)

// nodeItem is a node in a list.
type nodeItem struct {
	Name    string `json:"name"`
	Site    string `json:"site,omitempty"`
	State   string `json:"state"`
	Ready   bool   `json:"ready"`
	Version string `json:"version,omitempty"`
	Since   string `json:"since,omitempty"`
	Pods    *int   `json:"pods,omitempty"` // nil of a user who may not list pods
	Address string `json:"address,omitempty"`
}

type nodeCondition struct {
	Type    string `json:"type"`
	Status  string `json:"status"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	Since   string `json:"since,omitempty"`
}

// nodeLink is the connection of a node. Only the cloudcore that holds the node knows more than
// its own name.
type nodeLink struct {
	Cloudcore   string `json:"cloudcore,omitempty"`
	Transport   string `json:"transport,omitempty"`
	ConnectedAt string `json:"connectedAt,omitempty"`
}

// nodeDetail is everything about one node.
type nodeDetail struct {
	nodeItem
	Created    string            `json:"created,omitempty"`
	OS         string            `json:"os,omitempty"`
	Kernel     string            `json:"kernel,omitempty"`
	Arch       string            `json:"arch,omitempty"`
	Runtime    string            `json:"runtime,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
	Conditions []nodeCondition   `json:"conditions"`
	Link       nodeLink          `json:"link"`
}

// nodeItem is what a user may see of a node who may list nodes.
func (s *Server) nodeItem(r *nodeRow, see sight) nodeItem {
	item := nodeItem{Name: r.name, Site: r.site, State: r.state, Ready: r.ready, Version: r.version, Address: r.address}
	if see.pods {
		item.Pods = new(s.cfg.Pods.PodCount(r.name))
	}
	if r.since > 0 {
		item.Since = stamp(time.Unix(r.since, 0))
	}
	return item
}

// nodesRight is the right about Nodes that a verb needs; of one node, or of all for "".
func nodesRight(verb, name string) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: verb, Version: "v1", Resource: "nodes", Name: name}
}

// podsRight is the right to list Pods of all namespaces.
func podsRight() authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: "list", Version: "v1", Resource: "pods"}
}

func (s *Server) listNodes(q *request) (any, error) {
	o, err := parseList(q.URL.Query(), "name", "site", "state", "version", "since")
	if err != nil {
		return nil, err
	}
	if err := s.must(q.Context(), q.who, nodesRight("list", "")); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	find, err := nodeQuery(o)
	if err != nil {
		return nil, err
	}
	pods, err := s.may(q.Context(), q.who, podsRight())
	if err != nil {
		return nil, err
	}
	rows, next, total, err := s.fleet.rows.page(q.Context(), find)
	if err != nil {
		return nil, err
	}
	page := pageOf[nodeItem]{Items: make([]nodeItem, 0, len(rows)), Next: next, Total: total}
	for _, r := range rows {
		page.Items = append(page.Items, s.nodeItem(r, sight{pods: pods}))
	}
	return page, nil
}

// nodeQuery makes the query of a list of nodes. A site or a state is a range of its own order,
// so that not all nodes need be looked at.
func nodeQuery(o listOptions) (query[nodeRow], error) {
	q := query[nodeRow]{order: o.sort, desc: o.desc, limit: o.limit}
	state, bySite, site := o.values.Get("state"), o.values.Has("site"), o.values.Get("site")
	switch state {
	case "", stateConnected, stateDisconnected, stateUnknown, "notReady":
	default:
		return q, fail(http.StatusBadRequest, "state must be connected, disconnected, unknown or notReady")
	}
	switch {
	case o.sort == "name" && !o.desc && bySite && site != "":
		q.order, q.spans = "site", []span[nodeRow]{{&nodeRow{site: site}, func(r *nodeRow) bool { return r.site == site }}}
	case o.sort == "name" && !o.desc && state != "" && state != "notReady":
		q.order, q.spans = "state", []span[nodeRow]{{&nodeRow{state: state}, func(r *nodeRow) bool { return r.state == state }}}
	}
	if state != "" || bySite && site != "" || o.search != "" {
		q.keep = func(r *nodeRow) bool {
			return (state == "" || r.state == state || state == "notReady" && !r.ready) && (site == "" || r.site == site) &&
				(o.search == "" || strings.Contains(r.text, o.search))
		}
	}
	var err error
	q.after, err = decodeCursor(o.values.Get("cursor"), sortName(q.order, q.desc))
	return q, err
}

func (s *Server) node(q *request) (any, error) {
	name := q.PathValue("name")
	if err := s.must(q.Context(), q.who, nodesRight("get", name)); err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	item, ok := s.cfg.Nodes.Load(cache.Name{Name: name})
	if !ok {
		return nil, fail(http.StatusNotFound, "there is no edge node of this name")
	}
	pods, err := s.may(q.Context(), q.who, podsRight())
	if err != nil {
		return nil, err
	}
	n := item.Object
	info := n.Status.NodeInfo
	d := nodeDetail{
		nodeItem: s.nodeItem(newNodeRow(n, s.cfg.SiteLabels), sight{pods: pods}), Created: stamp(n.CreationTimestamp.Time),
		OS: summary.Shorten(info.OSImage, maxText), Kernel: summary.Shorten(info.KernelVersion, maxText),
		Arch: summary.Shorten(info.Architecture, maxText), Runtime: summary.Shorten(info.ContainerRuntimeVersion, maxText),
		Labels: make(map[string]string), Conditions: []nodeCondition{}, Link: s.link(q.Context(), q.who, name),
	}
	for _, key := range slices.Sorted(maps.Keys(n.Labels)) {
		if len(d.Labels) < maxLabels {
			d.Labels[key] = n.Labels[key]
		}
	}
	for _, c := range n.Status.Conditions[:min(len(n.Status.Conditions), maxConditions)] {
		d.Conditions = append(d.Conditions, nodeCondition{
			Type: summary.Shorten(string(c.Type), maxText), Status: summary.Shorten(string(c.Status), maxText), Reason: summary.Shorten(c.Reason, maxText),
			Message: summary.Shorten(c.Message, maxMessage), Since: stamp(c.LastTransitionTime.Time),
		})
	}
	return d, nil
}

// link returns what is known of a node's connection: from this cloudcore's own, or from the
// node's Lease, which names the one that holds it.
func (s *Server) link(ctx context.Context, w who, node string) nodeLink {
	s.mu.Lock()
	links := s.links
	s.mu.Unlock()
	if links != nil {
		if info, ok := links(node); ok {
			return linkOf(s.cfg.ID, info)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, holderTime)
	defer cancel()
	var lease coordinationv1.Lease
	path := []string{"apis", "coordination.k8s.io", "v1", "namespaces", corev1.NamespaceNodeLease, "leases", node}
	if err := s.upstream.get(ctx, w.token, path, nil, &lease); err != nil {
		return nodeLink{} // the user may not read it, or there is none: it is only for people
	}
	return nodeLink{Cloudcore: summary.Shorten(lease.Annotations[nodelifecycle.HolderAnnotation], maxText)}
}

func linkOf(id string, info hub.Info) nodeLink {
	return nodeLink{Cloudcore: id, Transport: info.Transport, ConnectedAt: stamp(info.Since)}
}

// podItem is a pod in a list.
type podItem struct {
	Namespace  string   `json:"namespace"`
	Name       string   `json:"name"`
	Node       string   `json:"node"`
	Phase      string   `json:"phase"`
	Reason     string   `json:"reason,omitempty"`
	Ready      bool     `json:"ready"`
	Restarts   int32    `json:"restarts"`
	Since      string   `json:"since,omitempty"`
	Containers []string `json:"containers"`
}

func newPodItem(p *corev1.Pod) podItem {
	item := podItem{
		Namespace: p.Namespace, Name: p.Name, Node: p.Spec.NodeName, Phase: summary.Shorten(string(p.Status.Phase), maxText),
		Reason: summary.Shorten(p.Status.Reason, maxText), Containers: []string{},
	}
	if p.Status.StartTime != nil {
		item.Since = stamp(p.Status.StartTime.Time)
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			item.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		item.Restarts += c.RestartCount
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			item.Containers = append(item.Containers, list[i].Name)
		}
	}
	return item
}

// podOrder is the order of a node's pods.
func podOrder() order[corev1.Pod] {
	return order[corev1.Pod]{
		less: func(a, b *corev1.Pod) bool {
			return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name)) < 0
		},
		cursor: func(p *corev1.Pod) cursor { return cursor{Namespace: p.Namespace, Name: p.Name} },
		pivot: func(c cursor) *corev1.Pod {
			p := new(corev1.Pod)
			p.Namespace, p.Name = c.Namespace, c.Name
			return p
		},
	}
}

func (s *Server) podsOfNode(q *request) (any, error) {
	o, err := parseList(q.URL.Query(), "name")
	if err != nil {
		return nil, err
	}
	after, err := decodeCursor(o.values.Get("cursor"), sortName("name", o.desc))
	if err != nil {
		return nil, err
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	pods := s.cfg.Pods.PodsOf(q.PathValue("name"))
	in, err := s.scopeOf(q.Context(), q.who, podsRight(), o.values.Get("namespace"), func() []string {
		var names []string
		for _, p := range pods { // they are sorted
			if len(names) == 0 || names[len(names)-1] != p.Namespace {
				names = append(names, p.Namespace)
			}
		}
		return slices.Compact(names)
	})
	if err != nil {
		return nil, err
	}
	by := podOrder()
	tree := btree.New(treeDegree, by.less)
	for _, p := range pods {
		if in.has(p.Namespace) && (o.search == "" || strings.Contains(p.Name, o.search)) {
			tree.ReplaceOrInsert(p)
		}
	}
	rows, next, total, err := pageOfTree(q.Context(), tree, by, query[corev1.Pod]{order: "name", desc: o.desc, after: after, limit: o.limit})
	if err != nil {
		return nil, err
	}
	page := pageOf[podItem]{Items: make([]podItem, 0, len(rows)), Next: next, Total: total}
	for _, p := range rows {
		page.Items = append(page.Items, newPodItem(p))
	}
	return page, nil
}
