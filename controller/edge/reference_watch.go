package edge

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
	metareferences "github.com/edgekit/edgekit/meta/references"
	"github.com/edgekit/edgekit/meta/resources"
)

// references returns the keys of what the node of the pod needs for it and the pod
// itself names; see followLocked for the rest.
func references(pod *corev1.Pod) map[hub.Key]struct{} {
	keys := make(map[hub.Key]struct{})
	for key := range metareferences.Of(pod) {
		keys[hub.Key(key)] = struct{}{}
	}
	addSelections(keys, pod)
	return keys
}

// watchedNode is a node with at least one subscriber: a session.
type watchedNode struct {
	refs map[cache.Name]map[hub.Key]struct{} // by pod, what it refers to
	// seen is what a list of the node's pods in the API server referred to, and
	// seenAt when it was made; see referred.
	seen   map[hub.Key]struct{}
	seenAt time.Time
}

// reference is one object that pods refer to and the live copy of it. users counts,
// for each node, the pods that refer to it.
type reference struct {
	key   hub.Key
	users map[string]int
	store objectStore
	// cancel ends the watch; nil before it runs.
	cancel context.CancelFunc
}

// objectStore is a cache.Store of one object, without its type.
type objectStore interface {
	Run(ctx context.Context) error
	Synced() <-chan struct{}
	// load returns the object for a peer that has version held, or false.
	load(held string) (obj metav1.Object, version string, ok bool)
	// version returns the object's version, or false.
	version() (string, bool)
}

type singleStore[T cache.Object] struct {
	*cache.Store[T]
	name cache.Name
}

func (s singleStore[T]) load(held string) (metav1.Object, string, bool) {
	item, ok := s.LoadFor(s.name, held)
	return item.Object, item.Version, ok
}

func (s singleStore[T]) version() (string, bool) {
	item, ok := s.Load(s.name)
	return item.Version, ok
}

// runReference watches the object until its last user is gone or ctx ends.
func (c *Controller) runReference(ctx context.Context, r *reference) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	r.cancel = cancel
	unused := len(r.users) == 0
	c.mu.Unlock()
	if unused {
		return
	}
	if err := r.store.Run(ctx); err != nil {
		c.cfg.Logger.Error("watch ended", "key", r.key.String(), "err", err)
	}
}

// watchReference makes the cache of one object. Each list and watch of a config map
// or secret is made as one of the nodes that refer to it at that moment, since the
// node authorizer lets only those read it; a running watch continues when that node
// no longer refers to it. A node may get claims (of volumes and of devices), volumes and
// attachments but not watch them (it has no verb watch on them in the node authorizer), so
// that cloudcore watches these in its own name: none holds a secret, only names of secrets.
func (c *Controller) watchReference(r *reference) objectStore {
	name := cache.Name{Namespace: r.key.Namespace, Name: r.key.Name}
	only := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name.Name).String()}
	as := func(ctx context.Context) (context.Context, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for node := range r.users {
			return impersonate.With(ctx, node), nil
		}
		return nil, fmt.Errorf("edge: no node refers to %s", r.key)
	}
	asItself := func(ctx context.Context) (context.Context, error) { return ctx, nil }
	changed := func() { c.referenceChanged(r) }
	switch r.key.Resource {
	case resources.Secrets:
		return newSingle(name, &corev1.Secret{}, c.cfg, changed, listWatch(as, only, c.cfg.NodeClient, c.cfg.NodeClient.CoreV1().Secrets(name.Namespace)))
	case resources.PersistentVolumeClaims:
		return newSingle(name, &corev1.PersistentVolumeClaim{}, c.cfg, changed, listWatch(asItself, only, c.cfg.Cloud, c.cfg.Cloud.CoreV1().PersistentVolumeClaims(name.Namespace)))
	case resources.ResourceClaims:
		return newSingle(name, &resourcev1.ResourceClaim{}, c.cfg, changed, listWatch(asItself, only, c.cfg.Cloud, c.cfg.Cloud.ResourceV1().ResourceClaims(name.Namespace)))
	case resources.CSIDrivers:
		return newSingle(name, &storagev1.CSIDriver{}, c.cfg, changed, listWatch(as, only, c.cfg.NodeClient, c.cfg.NodeClient.StorageV1().CSIDrivers()))
	case resources.RuntimeClasses:
		return newSingle(name, &nodev1.RuntimeClass{}, c.cfg, changed, listWatch(as, only, c.cfg.NodeClient, c.cfg.NodeClient.NodeV1().RuntimeClasses()))
	case resources.ClusterTrustBundles:
		return newSingle(name, &certificatesv1.ClusterTrustBundle{}, c.cfg, changed, listWatch(as, only, c.cfg.NodeClient, c.cfg.NodeClient.CertificatesV1().ClusterTrustBundles()))
	case bundleSelections:
		return c.watchSelection(name.Name, as, changed)
	case resources.VolumeAttachments:
		return newSingle(name, &storagev1.VolumeAttachment{}, c.cfg, changed, listWatch(asItself, only, c.cfg.Cloud, c.cfg.Cloud.StorageV1().VolumeAttachments()))
	case resources.PersistentVolumes:
		return newSingle(name, &corev1.PersistentVolume{}, c.cfg, changed, listWatch(asItself, only, c.cfg.Cloud, c.cfg.Cloud.CoreV1().PersistentVolumes()))
	}
	return newSingle(name, &corev1.ConfigMap{}, c.cfg, changed, listWatch(as, only, c.cfg.NodeClient, c.cfg.NodeClient.CoreV1().ConfigMaps(name.Namespace)))
}

// resourceClient is a client of one resource, whose lists are of type L.
type resourceClient[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// listWatch lists and watches what the selectors of only select, in the name that as puts into
// the context.
func listWatch[L runtime.Object](
	as func(context.Context) (context.Context, error), only metav1.ListOptions, client kubernetes.Interface, resource resourceClient[L],
) toolscache.ListerWatcher {
	return toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			ctx, err := as(ctx)
			if err != nil {
				return nil, err
			}
			o.FieldSelector, o.LabelSelector = only.FieldSelector, only.LabelSelector
			return resource.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			ctx, err := as(ctx)
			if err != nil {
				return nil, err
			}
			o.FieldSelector, o.LabelSelector = only.FieldSelector, only.LabelSelector
			return resource.Watch(ctx, o)
		},
	}, client)
}

func newSingle[T cache.Object](name cache.Name, empty T, cfg Config, changed func(), lw toolscache.ListerWatcher) objectStore {
	return singleStore[T]{newStore(cache.Config[T]{
		ListWatch: lw, Type: empty, Logger: cfg.Logger,
		Keep: func(obj T) bool { return obj.GetName() == name.Name && obj.GetNamespace() == name.Namespace },
	}, changed), name}
}

// newStore needs the ListWatch and the Type of cfg.
func newStore[T cache.Object](cfg cache.Config[T], changed func()) *cache.Store[T] {
	store, err := cache.New(cfg)
	if err != nil {
		panic(err) // the caller has set both required fields
	}
	store.OnChange(func(cache.Change[T]) { changed() })
	return store
}

// setReferencesLocked notes that a pod on a watched node refers to the keys, and to
// what those lead to, and returns the node's keys that are new to it or that nothing
// refers to any more.
func (c *Controller) setReferencesLocked(node string, pod cache.Name, keys map[hub.Key]struct{}) (changed []hub.Key) {
	keys = c.followLocked(node, keys)
	w := c.nodes[node]
	old := w.refs[pod]
	for key := range keys {
		if _, had := old[key]; had {
			continue
		}
		r := c.refs[key]
		if r == nil {
			r = &reference{key: key, users: make(map[string]int)}
			r.store = c.watchReference(r)
			c.refs[key] = r
			defer c.startReferenceLocked(r) // after users has the node
		}
		r.users[node]++
		if r.users[node] == 1 && key.Resource != bundleSelections {
			changed = append(changed, key)
		}
	}
	for key := range old {
		if _, still := keys[key]; still {
			continue
		}
		r := c.refs[key]
		if r.users[node]--; r.users[node] > 0 {
			continue
		}
		delete(r.users, node)
		if key.Resource != bundleSelections {
			changed = append(changed, key)
		}
		if len(r.users) == 0 {
			delete(c.refs, key)
			if r.cancel != nil {
				r.cancel()
			}
		}
	}
	if len(keys) == 0 {
		delete(w.refs, pod)
	} else {
		w.refs[pod] = keys
	}
	return changed
}

func (c *Controller) startReferenceLocked(r *reference) {
	c.tasks.Start(func(ctx context.Context) { c.runReference(ctx, r) })
}
