package apiserver

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/edgekit/edgekit/meta"
)

// Resource is a kind of object that the API serves from the store. Its objects
// are in the store's Down area under Name, as JSON.
type Resource struct {
	Group      string // "" for the core group
	Version    string // "v1"
	Name       string // plural, lower case; also the resource of the store's keys
	Singular   string
	Kind       string
	Short      []string // short names for kubectl
	Namespaced bool
}

func (r *Resource) kind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
}

func (r *Resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Name}
}

// served is a Resource with what the server needs besides its names.
type served struct {
	Resource
	typed  bool   // the scheme has its kind
	outbox bool   // its objects are in the Up area: reports of the node
	status string // the resource of the Up area whose status is newer, or ""
	// whole is that a node has all objects of it or none: every cluster has some.
	whole bool
	// stored is the resource of the store's keys if it is not the Name, and synced what the node
	// holds: both are of a resource of EdgeSyncs.
	stored string
	synced *coverage
}

// storeName is the resource of the store's keys.
func (r *served) storeName() string {
	if r.stored != "" {
		return r.stored
	}
	return r.Name
}

// key is the store's key of an object.
func (r *served) key(namespace, name string) meta.Key {
	return meta.Key{Resource: r.storeName(), Namespace: namespace, Name: name}
}

// builtin lists the resources that are served from the store, in the order of discovery.
func builtin() []*served {
	return []*served{
		{Resource: Resource{Version: "v1", Name: "configmaps", Singular: "configmap", Kind: "ConfigMap", Short: []string{"cm"}, Namespaced: true}},
		{Resource: Resource{Version: "v1", Name: "events", Singular: "event", Kind: "Event", Short: []string{"ev"}, Namespaced: true}, outbox: true},
		{Resource: Resource{Version: "v1", Name: "namespaces", Singular: "namespace", Kind: "Namespace", Short: []string{"ns"}}},
		{Resource: Resource{Version: "v1", Name: "nodes", Singular: "node", Kind: "Node", Short: []string{"no"}}, status: "nodes"},
		{Resource: Resource{Version: "v1", Name: "pods", Singular: "pod", Kind: "Pod", Short: []string{"po"}, Namespaced: true}, status: "pods/status"},
		{Resource: Resource{Version: "v1", Name: "secrets", Singular: "secret", Kind: "Secret", Namespaced: true}},
		{Resource: Resource{Version: "v1", Name: "services", Singular: "service", Kind: "Service", Short: []string{"svc"}, Namespaced: true}, whole: true},
		{Resource: Resource{Group: "discovery.k8s.io", Version: "v1", Name: "endpointslices", Singular: "endpointslice", Kind: "EndpointSlice", Namespaced: true}, whole: true},
		{Resource: Resource{Group: "networking.k8s.io", Version: "v1", Name: "servicecidrs", Singular: "servicecidr", Kind: "ServiceCIDR"}, whole: true},
		{Resource: Resource{Group: rbacGroup, Version: "v1", Name: "clusterrolebindings", Singular: "clusterrolebinding", Kind: "ClusterRoleBinding"}},
		{Resource: Resource{Group: rbacGroup, Version: "v1", Name: "clusterroles", Singular: "clusterrole", Kind: "ClusterRole"}},
		{Resource: Resource{Group: rbacGroup, Version: "v1", Name: "rolebindings", Singular: "rolebinding", Kind: "RoleBinding", Namespaced: true}},
		{Resource: Resource{Group: rbacGroup, Version: "v1", Name: "roles", Singular: "role", Kind: "Role", Namespaced: true}},
		// A DRA driver reads the claim that it is to prepare. The type in Go would cost a node more than its use.
		{Resource: Resource{Group: "resource.k8s.io", Version: "v1", Name: "resourceclaims", Singular: "resourceclaim", Kind: "ResourceClaim", Namespaced: true}},
	}
}

const rbacGroup = rbacv1.GroupName

// newScheme knows the served types only.
func newScheme() *runtime.Scheme {
	s := runtime.NewScheme()
	add := func(gv schema.GroupVersion, types ...runtime.Object) {
		s.AddKnownTypes(gv, types...)
		metav1.AddToGroupVersion(s, gv)
	}
	add(corev1.SchemeGroupVersion, &corev1.ConfigMap{}, &corev1.ConfigMapList{}, &corev1.Event{}, &corev1.EventList{},
		&corev1.Namespace{}, &corev1.NamespaceList{},
		&corev1.Node{}, &corev1.NodeList{}, &corev1.Pod{}, &corev1.PodList{}, &corev1.Secret{}, &corev1.SecretList{},
		&corev1.Service{}, &corev1.ServiceList{})
	add(discoveryv1.SchemeGroupVersion, &discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	add(networkingv1.SchemeGroupVersion, &networkingv1.ServiceCIDR{}, &networkingv1.ServiceCIDRList{})
	add(eventsv1.SchemeGroupVersion, &eventsv1.Event{}, &eventsv1.EventList{})
	add(rbacv1.SchemeGroupVersion, &rbacv1.ClusterRoleBinding{}, &rbacv1.ClusterRoleBindingList{}, &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleList{},
		&rbacv1.RoleBinding{}, &rbacv1.RoleBindingList{}, &rbacv1.Role{}, &rbacv1.RoleList{})
	addReviews(add)
	// Partial objects and tables.
	s.AddKnownTypes(metav1.SchemeGroupVersion, &metav1.Table{}, &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadataList{})
	metav1.AddToGroupVersion(s, metav1.SchemeGroupVersion)
	return s
}

// catalog finds resources by the path of a request.
type catalog struct {
	scheme *runtime.Scheme
	all    []*served
}

func newCatalog(custom []Resource) *catalog {
	c := &catalog{scheme: newScheme(), all: builtin()}
	for _, r := range custom {
		c.all = append(c.all, &served{Resource: r})
	}
	for _, r := range c.all {
		r.typed = c.scheme.Recognizes(r.kind())
	}
	return c
}

// find returns the resource, nil if it is not served from the store.
func (c *catalog) find(group, version, name string) *served {
	i := slices.IndexFunc(c.all, func(r *served) bool { return r.Group == group && r.Version == version && r.Name == name })
	if i < 0 {
		return nil
	}
	return c.all[i]
}

// new makes an empty object of the resource.
func (c *catalog) new(r *served) runtime.Object {
	if r.typed {
		if obj, err := c.scheme.New(r.kind()); err == nil {
			return obj
		}
	}
	return &unstructured.Unstructured{}
}

// newList makes an empty list of the resource, with its kind set.
func (c *catalog) newList(r *served) runtime.Object {
	kind := r.kind()
	kind.Kind += "List"
	var list runtime.Object = &unstructured.UnstructuredList{}
	if r.typed {
		if typed, err := c.scheme.New(kind); err == nil {
			list = typed
		}
	}
	list.GetObjectKind().SetGroupVersionKind(kind)
	return list
}
