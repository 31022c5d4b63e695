package groups

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
)

// Bounds of one application.
const (
	maxObjects  = 2000
	maxManifest = 256 << 10 // bytes
	maxMemory   = 64 << 20  // bytes that all objects may take, as sizeOf counts them
)

// object is one object of an application, as it is applied.
type object struct {
	*unstructured.Unstructured
	kind    *kind
	ordinal int    // of its manifest
	site    string // "" for what exists once
}

// id names an object within its namespace.
type id struct{ kind, name string }

func (o *object) id() id { return id{kind: o.kind.Kind, name: o.GetName()} }

// rendering is what an application comes to.
type rendering struct {
	objects []object
	sites   []string // sorted
}

// render makes the objects of an application. It depends on nothing but its arguments, and does
// not change them. An error is one of the application.
func render(app *v1alpha1.EdgeApplication, groups []*v1alpha1.NodeGroup, members map[string][]string, nodes []*corev1.Node) (*rendering, error) {
	targets, err := targetsOf(app, groups, members, nodes)
	if err != nil {
		return nil, err
	}
	r := &rendering{sites: make([]string, 0, len(targets))}
	for i := range targets {
		r.sites = append(r.sites, targets[i].site)
	}
	slices.Sort(r.sites)
	if i := duplicate(r.sites); i != "" {
		return nil, fmt.Errorf("workloadScope: two targets have the site %s: remove one", i)
	}
	seen, memory, patches := make(map[id]bool), 0, make(patchBodies)
	for i, m := range app.Spec.WorkloadTemplate.Manifests {
		base, k, err := parseManifest(app, m.Raw)
		if err != nil {
			return nil, fmt.Errorf("workloadTemplate.manifests[%d]: %w", i, err)
		}
		if !k.copies {
			if k.Kind == "Service" {
				annotate(base, v1alpha1.ServiceTopologyAnnotation, v1alpha1.ServiceTopologyNodeGroup)
			}
			r.objects = append(r.objects, object{Unstructured: base, kind: k, ordinal: i})
		} else if len(r.objects)+len(targets) <= maxObjects {
			for j := range targets {
				cp, err := copyFor(base, k, &targets[j], patches)
				if err != nil {
					return nil, fmt.Errorf("workloadTemplate.manifests[%d] (%s %s) for site %s: %w", i, k.Kind, base.GetName(), targets[j].site, err)
				}
				if memory += sizeOf(cp.Object); memory > maxMemory {
					return nil, fmt.Errorf("workloadTemplate.manifests[%d] (%s %s): the copies would take more than %d MiB: make several applications", i, k.Kind, base.GetName(), maxMemory>>20)
				}
				r.objects = append(r.objects, object{Unstructured: cp, kind: k, ordinal: i, site: targets[j].site})
			}
		} else {
			return nil, fmt.Errorf("the application has more than %d objects: make several", maxObjects)
		}
	}
	for i := range r.objects {
		o := &r.objects[i]
		if seen[o.id()] {
			return nil, fmt.Errorf("workloadTemplate.manifests[%d]: there are two of %s %s: give them different names", o.ordinal, o.kind.Kind, o.GetName())
		}
		seen[o.id()] = true
		o.SetNamespace(app.Namespace)
		label(o.Unstructured, v1alpha1.ApplicationLabel, app.Name)
		o.SetOwnerReferences([]metav1.OwnerReference{ownerOf(app)})
	}
	return r, nil
}

// ownerOf is the reference of an object to its application.
func ownerOf(app *v1alpha1.EdgeApplication) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: v1alpha1.GroupVersion().String(), Kind: v1alpha1.KindEdgeApplication, Name: app.Name, UID: app.UID,
		Controller: new(true), BlockOwnerDeletion: new(true),
	}
}

func duplicate(sorted []string) string {
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			return sorted[i]
		}
	}
	return ""
}

// parseManifest reads a manifest and checks that it may be made in the application's namespace.
func parseManifest(app *v1alpha1.EdgeApplication, raw []byte) (*unstructured.Unstructured, *kind, error) {
	if len(raw) > maxManifest {
		return nil, nil, fmt.Errorf("it has %d bytes: %d are the limit", len(raw), maxManifest)
	}
	u := &unstructured.Unstructured{}
	if err := json.Unmarshal(raw, &u.Object); err != nil || u.Object == nil {
		return nil, nil, fmt.Errorf("it is not an object: %w", err)
	}
	if _, ok := u.Object["metadata"].(map[string]any); !ok {
		return nil, nil, fmt.Errorf("it has no metadata: set metadata.name")
	}
	k := kindOf(u.GetAPIVersion(), u.GetKind())
	switch {
	case k == nil:
		return nil, nil, fmt.Errorf("an EdgeApplication may not have %s %s: apply it by itself; it may have %s", u.GetAPIVersion(), u.GetKind(), kindNames())
	case u.GetName() == "":
		return nil, nil, fmt.Errorf("%s without a name: set metadata.name", k.Kind)
	case u.GetNamespace() != "" && u.GetNamespace() != app.Namespace:
		return nil, nil, fmt.Errorf("%s %s is of namespace %s: an EdgeApplication makes objects in its own namespace %s only", k.Kind, u.GetName(), u.GetNamespace(), app.Namespace)
	}
	meta := map[string]any{"name": u.GetName()}
	for _, field := range []string{"labels", "annotations"} {
		values, found, err := unstructured.NestedStringMap(u.Object, "metadata", field)
		if err != nil {
			return nil, nil, fmt.Errorf("metadata.%s: want a map of strings", field)
		}
		if found && len(values) > 0 {
			_ = unstructured.SetNestedStringMap(meta, values, field)
		}
	}
	u.Object["metadata"] = meta // no owners, finalizers or versions of others
	delete(u.Object, "status")
	return u, k, nil
}

func kindNames() string {
	all := kinds()
	names := make([]string, len(all))
	for i := range all {
		names[i] = all[i].Kind
	}
	return strings.Join(names, ", ")
}

// copyFor makes the copy of a workload for a target.
func copyFor(base *unstructured.Unstructured, k *kind, t *target, patches patchBodies) (*unstructured.Unstructured, error) {
	cp := base.DeepCopy()
	cp.SetName(copyName(base.GetName(), t.site, k.max))
	if err := override(cp, k, t.over); err != nil {
		return nil, err
	}
	patched, err := patches.apply(cp, k, base.GetName(), t.over.Patches)
	if err != nil {
		return nil, err
	}
	if patched.GetAPIVersion() != cp.GetAPIVersion() || patched.GetKind() != cp.GetKind() || patched.GetName() != cp.GetName() ||
		patched.GetNamespace() != "" || len(patched.GetOwnerReferences()) > 0 || len(patched.GetFinalizers()) > 0 {
		return nil, fmt.Errorf("a patch changes the kind, name, namespace, owner or finalizers: remove that")
	}
	cp = patched
	if _, has, _ := unstructured.NestedFieldNoCopy(cp.Object, "spec", "ttlSecondsAfterFinished"); has && k.Kind == "Job" {
		return nil, fmt.Errorf("spec.ttlSecondsAfterFinished would have the Job made again whenever it is done: remove it, or make a CronJob")
	}
	if err := place(cp, k, t); err != nil {
		return nil, err
	}
	return cp, markSite(cp, k, t.site)
}

// sizeOf is about how much memory a value of JSON takes. Many short values take many times their
// text.
func sizeOf(value any) int {
	const word, entry = 16, 64
	size := word
	switch v := value.(type) {
	case string:
		size += len(v)
	case []any:
		for _, item := range v {
			size += word + sizeOf(item)
		}
	case map[string]any:
		for key, item := range v {
			size += entry + len(key) + sizeOf(item)
		}
	}
	return size
}

// copyName names a copy. A name that is too long for the kind ends with a hash.
func copyName(base, site string, limit int) string {
	name := base + "-" + site
	if len(name) <= limit {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return strings.TrimRight(name[:limit-9], "-.") + "-" + hex.EncodeToString(sum[:4])
}

// template returns the pod template of a workload; the workload is changed through it.
func template(u *unstructured.Unstructured, k *kind) (map[string]any, error) {
	path := []string{"spec", "template"}
	if k.Kind == "CronJob" {
		path = []string{"spec", "jobTemplate", "spec", "template"}
	}
	at := u.Object
	for _, field := range path {
		next, ok := at[field].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("%s is missing, or not an object", strings.Join(path, "."))
		}
		at = next
	}
	return at, nil
}

// child returns an object within another; it makes one if there is none.
func child(of map[string]any, field string) (map[string]any, error) {
	if of[field] == nil {
		of[field] = make(map[string]any)
	}
	m, ok := of[field].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s is not an object", field)
	}
	return m, nil
}
