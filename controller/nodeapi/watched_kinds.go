package nodeapi

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/resources"
)

// namespaces is the capability of the kind Namespace. Access and Services both
// imply it: the first gets the Namespaces of the node's pods, the second gets all.
const namespaces = "namespaces"

// kind is one resource that is watched for the nodes.
type kind struct {
	resource   string
	capability string // of the nodes that get it
	store      store
}

// store is a cache.Store without its type.
type store interface {
	Run(ctx context.Context) error
	Synced() <-chan struct{}
	Names() []cache.Name
	// load returns the object for a peer that has version held, or false.
	load(name cache.Name, held string) (metav1.Object, string, bool)
	version(name cache.Name) (string, bool)
	// read asks the API server itself.
	read(ctx context.Context, name cache.Name) (metav1.Object, error)
}

type typedStore[T cache.Object] struct {
	*cache.Store[T]
	get func(ctx context.Context, namespace, name string) (T, error)
}

func (s typedStore[T]) load(name cache.Name, held string) (metav1.Object, string, bool) {
	item, ok := s.LoadFor(name, held)
	return item.Object, item.Version, ok
}

func (s typedStore[T]) version(name cache.Name) (string, bool) {
	item, ok := s.Load(name)
	return item.Version, ok
}

func (s typedStore[T]) read(ctx context.Context, name cache.Name) (metav1.Object, error) {
	return s.get(ctx, name.Namespace, name.Name)
}

// client is one resource's typed client, as far as it is needed.
type client[T any, L runtime.Object] interface {
	Get(ctx context.Context, name string, o metav1.GetOptions) (T, error)
	List(ctx context.Context, o metav1.ListOptions) (L, error)
	Watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error)
}

// addKind makes a kind of all objects of a resource. in gives the client for
// a namespace.
func addKind[T cache.Object, L runtime.Object, C client[T, L]](
	c *Controller, kinds map[string]*kind, resource, capability string, empty T, in func(namespace string) C, changed func(hub.Key, cache.Change[T]),
) error {
	all := in(metav1.NamespaceAll)
	s, err := cache.New(cache.Config[T]{
		ListWatch: toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) },
			WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
				return all.Watch(ctx, o)
			},
		}, c.cfg.Cloud),
		Type: empty, Logger: c.cfg.Logger,
	})
	if err != nil {
		return err
	}
	s.OnChange(func(change cache.Change[T]) {
		changed(hub.Key{Resource: resource, Namespace: change.Name.Namespace, Name: change.Name.Name}, change)
	})
	kinds[resource] = &kind{resource: resource, capability: capability, store: typedStore[T]{s, func(ctx context.Context, namespace, name string) (T, error) {
		return in(namespace).Get(ctx, name, metav1.GetOptions{})
	}}}
	return nil
}

// newKinds makes all kinds. None is watched yet.
func (c *Controller) newKinds() (map[string]*kind, error) {
	kinds := make(map[string]*kind)
	core, rbac := c.cfg.Cloud.CoreV1(), c.cfg.Cloud.RbacV1()
	err := errors.Join(
		addKind(c, kinds, resources.Services, wire.Services, &corev1.Service{}, core.Services, func(k hub.Key, _ cache.Change[*corev1.Service]) { c.serviceChanged(k) }),
		addKind(c, kinds, resources.EndpointSlices, wire.Services, &discoveryv1.EndpointSlice{}, c.cfg.Cloud.DiscoveryV1().EndpointSlices,
			func(k hub.Key, _ cache.Change[*discoveryv1.EndpointSlice]) { c.serviceChanged(k) }),
		addKind(c, kinds, resources.ServiceCIDRs, wire.Services, &networkingv1.ServiceCIDR{}, anyNamespace(c.cfg.Cloud.NetworkingV1().ServiceCIDRs()),
			func(k hub.Key, _ cache.Change[*networkingv1.ServiceCIDR]) { c.serviceChanged(k) }),
		addKind(c, kinds, resources.Namespaces, namespaces, &corev1.Namespace{}, anyNamespace(core.Namespaces()),
			func(k hub.Key, _ cache.Change[*corev1.Namespace]) {
				c.accessChanged(k, nil)
				c.serviceChanged(k)
			}),
		addKind(c, kinds, resources.Roles, wire.Access, &rbacv1.Role{}, rbac.Roles,
			func(k hub.Key, _ cache.Change[*rbacv1.Role]) { c.accessChanged(k, nil) }),
		addKind(c, kinds, resources.ClusterRoles, wire.Access, &rbacv1.ClusterRole{}, anyNamespace(rbac.ClusterRoles()),
			func(k hub.Key, _ cache.Change[*rbacv1.ClusterRole]) { c.accessChanged(k, nil) }),
		addKind(c, kinds, resources.RoleBindings, wire.Access, &rbacv1.RoleBinding{}, rbac.RoleBindings, func(k hub.Key, change cache.Change[*rbacv1.RoleBinding]) {
			c.accessChanged(k, func(b *bindings) {
				b.remove(k)
				if o := change.New; o != nil {
					b.add(k, o.Subjects, o.RoleRef)
				}
			})
		}),
		addKind(c, kinds, resources.ClusterRoleBindings, wire.Access, &rbacv1.ClusterRoleBinding{}, anyNamespace(rbac.ClusterRoleBindings()),
			func(k hub.Key, change cache.Change[*rbacv1.ClusterRoleBinding]) {
				c.accessChanged(k, func(b *bindings) {
					b.remove(k)
					if o := change.New; o != nil {
						b.add(k, o.Subjects, o.RoleRef)
					}
				})
			}),
	)
	return kinds, err
}

// anyNamespace is for what belongs to no namespace.
func anyNamespace[C any](client C) func(string) C { return func(string) C { return client } }
