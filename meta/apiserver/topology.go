package apiserver

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// An EndpointSlice of a Service with the annotation wire.TopologyAnnotation is served with the
// endpoints of the node's own group only, so that traffic stays within a site. The store has whole
// slices: what is left out follows the labels of nodes at once.

// topology says which endpoints this node sees.
type topology struct {
	node    string
	group   string              // of this node; "" is none
	groups  map[string]string   // of other nodes that have one
	ranged  map[string]struct{} // Services, namespace/name, that are kept within a group
	unknown bool                // the cloud does not say which nodes are in the group: nothing is left out
}

// topology reads it from the store. It is nil if no Service is kept within a group.
func (s *Server) topology(ctx context.Context) (*topology, error) {
	all, _, err := s.cfg.Store.List(ctx, meta.Down+resources.Services+"/")
	if err != nil {
		return nil, err
	}
	ranged := make(map[string]struct{})
	for _, record := range all {
		if key, ok := meta.ParsePath(strings.TrimPrefix(record.Key, meta.Down)); ok && isRanged(record) {
			ranged[key.Namespace+"/"+key.Name] = struct{}{}
		}
	}
	if len(ranged) == 0 {
		return nil, nil
	}
	t := &topology{node: s.cfg.Node, groups: make(map[string]string), ranged: ranged}
	own, err := s.cfg.Store.Get(ctx, meta.Down+meta.Key{Resource: resources.Nodes, Name: s.cfg.Node}.Path())
	if err != nil && !errors.Is(err, meta.ErrNotFound) {
		return nil, err
	}
	if o, ok := metadataOf(own); err == nil && ok {
		t.group = o.Labels[wire.GroupLabel]
	}
	members, _, err := s.cfg.Store.List(ctx, meta.Down+wire.MembersResource+"/")
	if err != nil {
		return nil, err
	}
	for _, record := range members {
		if o, ok := metadataOf(record); ok && o.Labels[wire.GroupLabel] != "" {
			t.groups[o.Name] = o.Labels[wire.GroupLabel]
		}
	}
	// A cloudcore of an older version sends no members, not even this node.
	t.unknown = t.group != "" && t.groups[t.node] != t.group
	return t, nil
}

// isRanged reports whether a Service is kept within a group.
func isRanged(service meta.Record) bool {
	if !bytes.Contains(service.Value, []byte(wire.TopologyNodeGroup)) {
		return false // most have no annotation: they are not decoded
	}
	o, ok := metadataOf(service)
	return ok && o.Annotations[wire.TopologyAnnotation] == wire.TopologyNodeGroup
}

// metadataOf decodes the metadata of an object in the Down area.
func metadataOf(record meta.Record) (*metav1.ObjectMeta, bool) {
	if record.Key == "" {
		return nil, false
	}
	stored, err := meta.DecodeObject(meta.Down, record)
	if err != nil || stored.Deleted {
		return nil, false
	}
	var o metav1.PartialObjectMetadata
	if err := jsonlimit.Unmarshal(stored.Body, &o); err != nil {
		return nil, false
	}
	return &o.ObjectMeta, true
}

// serviceOf is the Service of a slice, namespace/name; "" for any other object.
func serviceOf(it item) string {
	slice, ok := it.object.(*discoveryv1.EndpointSlice)
	if !ok || slice.Labels[discoveryv1.LabelServiceName] == "" {
		return ""
	}
	return slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
}

// sees reports whether this node sees an endpoint. One of no node, and one of this node, is always
// seen. Nodes without a group see each other.
func (t *topology) sees(e *discoveryv1.Endpoint) bool {
	return e.NodeName == nil || *e.NodeName == "" || *e.NodeName == t.node || t.groups[*e.NodeName] == t.group
}

// filters reports whether slices of a Service are filtered.
func (t *topology) filters(service string) bool {
	if t == nil || t.unknown || service == "" {
		return false
	}
	_, ok := t.ranged[service]
	return ok
}

// filter leaves out of a slice the endpoints that this node does not see.
func (t *topology) filter(it item) {
	if !t.filters(serviceOf(it)) {
		return
	}
	if slice, ok := it.object.(*discoveryv1.EndpointSlice); ok {
		slice.Endpoints = slices.DeleteFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool { return !t.sees(&e) })
	}
}

// differs reports whether a slice is another by t than by old.
func (t *topology) differs(old *topology, it item) bool {
	slice, ok := it.object.(*discoveryv1.EndpointSlice)
	if !ok {
		return false
	}
	service := serviceOf(it)
	before, after := old.filters(service), t.filters(service)
	return slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool {
		return (!before || old.sees(&e)) != (!after || t.sees(&e))
	})
}

// topologyPrefixes are the prefixes of what decides which endpoints a node sees.
func topologyPrefixes() []string {
	return []string{meta.Down + resources.Services + "/", meta.Down + resources.Nodes + "/", meta.Down + wire.MembersResource + "/"}
}

// isEndpoints reports whether a resource is filtered.
func isEndpoints(r *served) bool { return r != nil && r.Name == resources.EndpointSlices }

// keepsTopology reports whether a request of a service account is answered from the store while
// the link is connected, because the API server knows nothing of the node's group.
func (s *Server) keepsTopology(ctx context.Context, q request) bool {
	if q.resource != resources.EndpointSlices || q.group != discoveryv1.GroupName || !reading(q) {
		return false
	}
	t, err := s.topology(ctx)
	return err == nil && t != nil && !t.unknown
}

// topologyEvent handles a change of something that may decide which endpoints the node sees.
func (wt *watcher) topologyEvent(ctx context.Context, e meta.Event) bool {
	if e.Revision > wt.unsure && !wt.topology.concerns(e) {
		return true
	}
	for _, prefix := range topologyPrefixes() {
		if strings.HasPrefix(e.Key, prefix) {
			return wt.topologyChanged(ctx, e.Revision)
		}
	}
	return true
}

// concerns reports whether an event may change what t says. The topology is read anew for each that
// does: not for every status of the Node, nor for each of thousands of nodes that come at once.
func (t *topology) concerns(e meta.Event) bool {
	key, ok := meta.ParsePath(strings.TrimPrefix(e.Key, meta.Down))
	if !ok {
		return true
	}
	if key.Resource == resources.Services {
		was := false
		if t != nil {
			_, was = t.ranged[key.Namespace+"/"+key.Name]
		}
		return was != (!e.Deleted && isRanged(e.Record))
	}
	if t == nil {
		return false // no Service is kept within a group
	}
	group := ""
	if o, ok := metadataOf(e.Record); ok && !e.Deleted {
		group = o.Labels[wire.GroupLabel]
	}
	switch key.Resource {
	case wire.MembersResource:
		return t.groups[key.Name] != group
	case resources.Nodes:
		return key.Name == t.node && t.group != group
	}
	return false
}

// topologyChanged sends the slices that changed because a Service, or the group of a node, did.
func (wt *watcher) topologyChanged(ctx context.Context, revision uint64) bool {
	now, err := wt.s.topology(ctx)
	if err != nil {
		return false
	}
	old := wt.topology
	wt.topology = now
	if old == nil && now == nil && revision > wt.unsure {
		return true
	}
	records, _, err := wt.s.cfg.Store.List(ctx, wt.res.prefix(wt.ns))
	if err != nil {
		return false
	}
	for _, record := range records {
		it, ok := wt.s.decode(wt.res, record)
		// What the client had before the watch began is not known.
		if !ok || !now.differs(old, it) && (revision > wt.unsure || !now.filters(serviceOf(it))) {
			continue
		}
		now.filter(it)
		it.at(revision)
		if !wt.sendItem(it, false) {
			return false
		}
	}
	return true
}
