package cache

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	toolscache "k8s.io/client-go/tools/cache"
)

// objectOf is the pointer to a typed API object.
type objectOf[T any] interface {
	*T
	Object
}

// NewDynamic gives an empty Store of the objects of a resource, in all namespaces, that the
// dynamic client reads. It sets ListWatch, Type and Decode of cfg.
func NewDynamic[T any, P objectOf[T]](client dynamic.Interface, resource schema.GroupVersionResource, cfg Config[P]) (*Store[P], error) {
	all := client.Resource(resource)
	list := func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return all.List(ctx, o) }
	follow := func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) { return all.Watch(ctx, o) }
	cfg.ListWatch = toolscache.ToListWatcherWithWatchListSemantics(
		&toolscache.ListWatch{ListWithContextFunc: list, WatchFuncWithContext: follow}, client)
	cfg.Type = &unstructured.Unstructured{}
	cfg.Decode = func(obj runtime.Object) (P, error) { return Decode[T, P](obj) }
	return New(cfg)
}

// Decode reads an object of a dynamic client into a new T. The pointer is not nil even if it
// returns an error.
func Decode[T any, P objectOf[T]](obj runtime.Object) (P, error) {
	into := P(new(T))
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return into, fmt.Errorf("unexpected type %T", obj)
	}
	return into, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into)
}
