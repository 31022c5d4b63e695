package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// object is an API object of any kind.
type object interface {
	runtime.Object
	metav1.Object
}

// item is one object as it is served. Its resourceVersion is the revision of the newest
// record that it was made from.
type item struct {
	object
	key      meta.Key
	revision uint64
	version  string // the cloud's resourceVersion, "" in the outbox
}

// area is where the resource's objects are.
func (r *served) area() string {
	if r.outbox {
		return meta.Events
	}
	return meta.Down
}

// prefix is that of the store keys of the resource in a namespace, "" for all.
func (r *served) prefix(namespace string) string {
	p := r.area() + r.storeName() + "/"
	if namespace != "" {
		p += namespace + "/"
	}
	return p
}

// statusKey is where the node's own, newer status of an object is.
func (r *served) statusKey(k meta.Key) string {
	k.Resource = r.status
	return meta.Up + k.Path()
}

// statusPrefix is the prefix of all keys that statusKey returns.
func (r *served) statusPrefix() string {
	return meta.Up + strings.TrimSuffix(meta.Key{Resource: r.status}.Path(), "/")
}

var errNotThere = errors.New("not in the store")

// load reads one object. It returns errNotThere for an object that is not in the store.
func (s *Server) load(ctx context.Context, r *served, key meta.Key) (item, error) {
	if !key.Valid() {
		return item{}, errNotThere
	}
	record, err := s.cfg.Store.Get(ctx, r.area()+key.Path())
	if errors.Is(err, meta.ErrNotFound) {
		return item{}, errNotThere
	}
	if err != nil {
		return item{}, err
	}
	it, ok := s.decode(r, record)
	if !ok {
		return item{}, errNotThere
	}
	if r.status != "" {
		status, err := s.cfg.Store.Get(ctx, r.statusKey(key))
		if err != nil && !errors.Is(err, meta.ErrNotFound) {
			return item{}, err
		}
		if err == nil {
			s.merge(&it, status)
		}
	}
	if isEndpoints(r) {
		t, err := s.topology(ctx)
		if err != nil {
			return item{}, err
		}
		t.filter(it)
	}
	return it, nil
}

// absent reports whether the cloud answered that the object does not exist, and cannot be
// asked again now.
func (s *Server) absent(ctx context.Context, q request, r *served) (bool, error) {
	if known, err := s.knownAbsent(ctx, r, q.namespace); known || err != nil {
		return known, err
	}
	answers, can := s.cfg.Cloud.(Absences)
	if connected, _ := s.cfg.Connected(); connected || !can {
		return false, nil
	}
	key := r.key(q.namespace, q.name)
	if !key.Valid() {
		return false, nil
	}
	return answers.Absent(ctx, key, 0)
}

// list reads all objects of a resource in a namespace, "" for all, in the
// order of their keys, and the revision from which a watch continues the list.
// Objects may be newer than that revision: the watch then repeats them.
func (s *Server) list(ctx context.Context, r *served, namespace string) ([]item, uint64, error) {
	if err := s.checkSynced(r, namespace); err != nil {
		return nil, 0, err
	}
	records, revision, err := s.cfg.Store.List(ctx, r.prefix(namespace))
	if err == nil && len(records) == 0 {
		err = s.checkHeld(ctx, r, namespace)
	}
	if err != nil {
		return nil, 0, err
	}
	newer := make(map[string]meta.Record)
	if r.status != "" {
		list, _, err := s.cfg.Store.List(ctx, r.statusPrefix())
		if err != nil {
			return nil, 0, err
		}
		for _, status := range list {
			newer[status.Key] = status
		}
	}
	items := make([]item, 0, len(records))
	for _, record := range records {
		it, ok := s.decode(r, record)
		if !ok {
			continue
		}
		if r.status != "" {
			if status, ok := newer[r.statusKey(it.key)]; ok {
				s.merge(&it, status)
			}
		}
		items = append(items, it)
	}
	return items, revision, nil
}

// listSeen is list, with the endpoints that this node sees. The topology is read after the
// list: a watch from the revision repeats what has changed in between.
func (s *Server) listSeen(ctx context.Context, r *served, namespace string) ([]item, uint64, *topology, error) {
	items, revision, err := s.list(ctx, r, namespace)
	if err != nil || !isEndpoints(r) {
		return items, revision, nil, err
	}
	t, err := s.topology(ctx)
	for _, it := range items {
		t.filter(it)
	}
	return items, revision, t, err
}

// checkHeld returns an error if nothing is listed because the node does not hold this kind. A
// client, such as kube-proxy, must not take that for a cluster without Services.
func (s *Server) checkHeld(ctx context.Context, r *served, namespace string) error {
	if !r.whole || !r.Namespaced { // a cluster may have no ServiceCIDR; it always has the Service kubernetes
		return nil
	}
	if namespace != "" {
		all, _, err := s.cfg.Store.List(ctx, r.prefix(""))
		if err != nil || len(all) > 0 {
			return err
		}
	}
	q := request{group: r.Group, resource: r.Name}
	return offline(q, fmt.Sprintf("this node does not hold the %s of the cluster: edgecore --local-api-services asks for them", r.Name))
}

// decode reads a record of the resource. One that cannot be read is logged and
// left out: one bad object must not hide all others.
func (s *Server) decode(r *served, record meta.Record) (item, bool) {
	stored, err := meta.DecodeObject(r.area(), record)
	if err == nil && stored.Deleted {
		return item{}, false // a deletion that waits in the outbox
	}
	obj, ok := s.catalog.new(r).(object)
	if err == nil && ok {
		err = jsonlimit.Unmarshal(withKind(stored.Body, r, ok && r.typed), obj)
	}
	if err == nil && (obj.GetName() != stored.Key.Name || obj.GetNamespace() != stored.Key.Namespace) {
		err = fmt.Errorf("body is of %s/%s", obj.GetNamespace(), obj.GetName())
	}
	if err != nil || !ok {
		s.cfg.Logger.Warn("stored object cannot be served", "key", record.Key, "err", err)
		return item{}, false
	}
	it := item{object: obj, key: stored.Key, version: stored.Version}
	it.GetObjectKind().SetGroupVersionKind(r.kind())
	it.at(record.Revision)
	return it, true
}

// withKind adds a kind to a body without one if its type needs a kind to be decoded: the
// cloud sends objects as client-go holds them, without a kind.
func withKind(body []byte, r *served, typed bool) []byte {
	if typed || len(body) == 0 || body[0] != '{' {
		return body
	}
	var has metav1.TypeMeta
	if err := jsonlimit.Unmarshal(body, &has); err != nil || has.Kind != "" {
		return body
	}
	apiVersion, kind := r.kind().ToAPIVersionAndKind()
	head := fmt.Sprintf(`{"apiVersion":%q,"kind":%q`, apiVersion, kind)
	if rest := strings.TrimSpace(string(body[1:])); !strings.HasPrefix(rest, "}") {
		head += ","
	}
	return append([]byte(head), body[1:]...)
}

// at sets the item's revision.
func (it *item) at(revision uint64) {
	it.revision = revision
	it.SetResourceVersion(localVersion(revision))
}

// merge puts the node's own status, as it was last reported, into the item.
func (s *Server) merge(it *item, record meta.Record) {
	stored, err := meta.DecodeObject(meta.Up, record)
	if err != nil || stored.Deleted {
		return
	}
	switch obj := it.object.(type) {
	case *corev1.Pod:
		var report corev1.Pod
		if jsonlimit.Unmarshal(stored.Body, &report) != nil || report.UID != obj.UID {
			return // of a pod that had this name before
		}
		qos := obj.Status.QOSClass
		foreign := foreignConditions(obj.Status.Conditions, report.Status.Conditions)
		obj.Status = report.Status
		obj.Status.Conditions = append(obj.Status.Conditions, foreign...)
		if obj.Status.QOSClass == "" {
			obj.Status.QOSClass = qos
		}
	case *corev1.Node:
		var report corev1.Node
		if jsonlimit.Unmarshal(stored.Body, &report) != nil {
			return
		}
		obj.Status = report.Status
	default:
		return
	}
	it.at(max(it.revision, record.Revision))
}

// foreignConditions returns the conditions of all that the node does not report.
func foreignConditions(all, reported []corev1.PodCondition) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, c := range all {
		mine := false
		for _, r := range reported {
			mine = mine || r.Type == c.Type
		}
		if !mine {
			out = append(out, c)
		}
	}
	return out
}
