package kube

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/internal/latest"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// Manager is what the client needs of MetaManager; *manager.Manager implements it.
type Manager interface {
	// Query answers from the store or the cloud. It wraps meta.ErrNotFound
	// for what does not exist.
	Query(ctx context.Context, q meta.Object) (meta.Object, error)
	// Insert reports a new object; returns when that is durable.
	Insert(ctx context.Context, o meta.Object) error
	// Update reports a new value; returns when that is durable.
	Update(ctx context.Context, o meta.Object) error
	// Delete asks the cloud to delete; returns when that is durable.
	Delete(ctx context.Context, o meta.Object) error
	// Append reports an event; returns when that is durable.
	Append(ctx context.Context, key meta.Key, body []byte) error
}

// Config sets up a Client. Store, Manager and Node are required.
type Config struct {
	Store   meta.Store       // the node's store; the caller closes it
	Manager Manager          // answers queries and takes reports; runs elsewhere
	Node    string           // the node's name; pods bound to another are left out
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // nil means time.Now
}

// Client reads and reports typed objects by a node's store. Make one with New.
type Client struct {
	cfg  Config
	log  *slog.Logger
	list latest.Topic[[]*corev1.Pod]
	refs latest.Topic[struct{}] // an object that pods refer to, or a token, has changed

	reached chan struct{} // has a value when the cloud is in reach again

	pods map[string]*heldPod // by store key; belongs to Run

	registration registration
	started      atomic.Bool // Run was called

	mu        sync.Mutex
	referrers map[meta.Key]referrer // by the object that pods refer to
}

// heldPod is a pod as the store has it.
type heldPod struct {
	*corev1.Pod
	revision uint64
	stored   time.Time
}

// New checks the configuration; it does no I/O.
func New(cfg Config) (*Client, error) {
	switch {
	case cfg.Store == nil:
		return nil, errors.New("meta/kube: Config.Store is required")
	case cfg.Manager == nil:
		return nil, errors.New("meta/kube: Config.Manager is required")
	case cfg.Node == "":
		return nil, errors.New("meta/kube: Config.Node is required: the node's name")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg: cfg, log: cfg.Logger, reached: make(chan struct{}, 1)}, nil
}

// Run follows the store until ctx ends, and then returns nil. It returns an
// error when the store fails. A second call returns meta.ErrStarted.
func (c *Client) Run(ctx context.Context) error {
	if !c.started.CompareAndSwap(false, true) {
		return meta.ErrStarted
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.refreshFromCloud(gctx) })
	g.Go(func() error {
		for gctx.Err() == nil {
			if err := c.follow(gctx); err != nil && gctx.Err() == nil {
				return fmt.Errorf("meta/kube: %w", err)
			}
		}
		return nil
	})
	return g.Wait()
}

// Pods gives the pods bound to this node: the full list once it is known, and
// again after every change. The channel holds one value, the newest; it is
// closed when ctx ends. The error is always nil; it is there for
// implementations that ask a server.
func (c *Client) Pods(ctx context.Context) (<-chan []*corev1.Pod, error) {
	return c.list.Subscribe(ctx), nil
}

// Changed gets a value whenever a config map, a secret, a claim of a volume or of devices, a volume,
// its attachment, a runtime class, a trust bundle or a token may have changed, and one at the start.
// It holds one value; it is closed when ctx ends.
func (c *Client) Changed(ctx context.Context) <-chan struct{} { return c.refs.Subscribe(ctx) }

// ConfigMap reads a config map from the store, else asks the cloud. When one that a pod
// refers to is missing on this node, the package comment says when it counts as absent.
func (c *Client) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return readReference[corev1.ConfigMap](ctx, c, meta.Key{Resource: resources.ConfigMaps, Namespace: namespace, Name: name})
}

// Secret reads a secret as ConfigMap does a config map.
func (c *Client) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return readReference[corev1.Secret](ctx, c, meta.Key{Resource: resources.Secrets, Namespace: namespace, Name: name})
}

// PersistentVolumeClaim reads a claim as ConfigMap does a config map.
func (c *Client) PersistentVolumeClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return readReference[corev1.PersistentVolumeClaim](ctx, c, meta.Key{Resource: resources.PersistentVolumeClaims, Namespace: namespace, Name: name})
}

// PersistentVolume reads a volume, with the claim that is bound to it, from the store,
// else asks the cloud.
func (c *Client) PersistentVolume(ctx context.Context, name string) (*corev1.PersistentVolume, error) {
	return readReference[corev1.PersistentVolume](ctx, c, meta.Key{Resource: resources.PersistentVolumes, Name: name})
}

// CSIDriver reads a CSIDriver object as PersistentVolume does a volume.
func (c *Client) CSIDriver(ctx context.Context, name string) (*storagev1.CSIDriver, error) {
	return readReference[storagev1.CSIDriver](ctx, c, meta.Key{Resource: resources.CSIDrivers, Name: name})
}

// VolumeAttachment reads whether a volume is attached to this node, as PersistentVolume
// does a volume.
func (c *Client) VolumeAttachment(ctx context.Context, name string) (*storagev1.VolumeAttachment, error) {
	return readReference[storagev1.VolumeAttachment](ctx, c, meta.Key{Resource: resources.VolumeAttachments, Name: name})
}

// ResourceClaim reads a ResourceClaim (resource.k8s.io/v1) as ConfigMap does a config map.
// It returns the object's JSON: its type in Go would cost a node more than its use of it.
func (c *Client) ResourceClaim(ctx context.Context, namespace, name string) ([]byte, error) {
	return c.readBody(ctx, meta.Key{Resource: resources.ResourceClaims, Namespace: namespace, Name: name})
}

// runtimeClass is what a node needs of a RuntimeClass. The type of Kubernetes is large when
// it is linked.
type runtimeClass struct {
	Handler string `json:"handler"`
}

// RuntimeHandler reads the handler of a runtime class, as PersistentVolume does a volume.
func (c *Client) RuntimeHandler(ctx context.Context, class string) (string, error) {
	found, err := readReference[runtimeClass](ctx, c, meta.Key{Resource: resources.RuntimeClasses, Name: class})
	if err != nil {
		return "", err
	}
	return found.Handler, nil
}

// Services lists the Services of a namespace in the store: all of them, or none if the
// node did not ask for Services.
func (c *Client) Services(ctx context.Context, namespace string) ([]*corev1.Service, error) {
	records, _, err := c.cfg.Store.List(ctx, meta.Down+"services/"+namespace+"/")
	if err != nil {
		return nil, fmt.Errorf("meta/kube: services of %s: %w", namespace, err)
	}
	var out []*corev1.Service
	for _, r := range records {
		s := &corev1.Service{}
		o, err := meta.DecodeObject(meta.Down, r)
		if err == nil {
			err = jsonlimit.Unmarshal(o.Body, s)
		}
		if err != nil {
			c.log.Error("stored Service cannot be read; pods do without it", "key", r.Key, "err", err)
			continue
		}
		out = append(out, s)
	}
	return out, nil
}

// NotFoundError says that an object does not exist. It wraps meta.ErrNotFound.
type NotFoundError struct{ Key meta.Key }

// Error names what is missing.
func (e *NotFoundError) Error() string { return "meta/kube: " + e.Key.String() + " does not exist" }

// Unwrap gives meta.ErrNotFound.
func (e *NotFoundError) Unwrap() error { return meta.ErrNotFound }

// NotFound reports true. It lets callers branch with an interface of their
// own, without importing this package.
func (e *NotFoundError) NotFound() bool { return true }

func wrap(key meta.Key, err error) error {
	if errors.Is(err, meta.ErrNotFound) {
		return &NotFoundError{key}
	}
	return fmt.Errorf("meta/kube: %s: %w", key, err)
}

const podArea = meta.Down + "pods/"

// follow reads all pods and then every change, until the watch ends.
func (c *Client) follow(ctx context.Context) error {
	records, at, err := c.cfg.Store.List(ctx, podArea)
	if err != nil {
		return err
	}
	old := c.pods
	c.pods = make(map[string]*heldPod)
	for _, r := range records {
		if !c.put(r) && old[r.Key] != nil {
			c.pods[r.Key] = old[r.Key]
		}
	}
	if err := c.sweepCredentials(ctx); err != nil {
		return err
	}
	if err := c.loadNode(ctx); err != nil {
		return err
	}
	changes, err := c.cfg.Store.Watch(ctx, meta.Down, at)
	if errors.Is(err, meta.ErrCompacted) {
		return nil // the list is too old for the watch: list again
	}
	if err != nil {
		return err
	}
	c.publish()
	c.refs.Publish(struct{}{})
	for events := range changes {
		if err := c.apply(ctx, events); err != nil {
			return err
		}
	}
	return nil
}

// apply handles changes of the Down area and notifies each kind of subscriber once.
func (c *Client) apply(ctx context.Context, events []meta.Event) error {
	var pods, refs bool
	for _, e := range events {
		key, ok := meta.ParsePath(e.Key[len(meta.Down):])
		switch {
		case !ok:
		case isReference(key.Resource):
			refs = true
		case key.Resource == resources.Nodes:
			refs = c.nodeChanged(key, e) || refs
		case key.Resource != resources.Pods:
		case e.Deleted:
			if gone := c.pods[e.Key]; gone != nil {
				if err := c.dropCredentials(ctx, string(gone.UID)); err != nil {
					return err
				}
			}
			delete(c.pods, e.Key)
			pods = true
		default:
			pods = c.put(e.Record) || pods
		}
	}
	if pods {
		c.publish()
	}
	if refs {
		c.refs.Publish(struct{}{})
	}
	return nil
}

// isReference reports whether pods refer to objects of that resource, or to what these
// lead to.
func isReference(resource string) bool {
	switch resource {
	case resources.ConfigMaps, resources.Secrets, resources.PersistentVolumeClaims, resources.PersistentVolumes,
		resources.CSIDrivers, resources.VolumeAttachments, resources.ResourceClaims, resources.RuntimeClasses, resources.ClusterTrustBundles:
		return true
	}
	return false
}

// put decodes one pod. If that fails, the last good version stays: a running pod is not
// stopped because its stored object is damaged.
func (c *Client) put(r meta.Record) bool {
	o, err := meta.DecodeObject(meta.Down, r)
	pod := new(corev1.Pod)
	if err == nil {
		err = jsonlimit.Unmarshal(o.Body, pod)
	}
	if err == nil && (pod.Namespace != o.Key.Namespace || pod.Name != o.Key.Name) {
		err = fmt.Errorf("body is of pod %s/%s", pod.Namespace, pod.Name)
	}
	if err != nil {
		c.log.Error("stored pod cannot be read; its last good version stays in use", "key", r.Key, "err", err)
		return false
	}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != c.cfg.Node {
		_, had := c.pods[r.Key]
		delete(c.pods, r.Key)
		return had
	}
	c.pods[r.Key] = &heldPod{pod, r.Revision, o.Stored}
	return true
}

// publish sends the list to subscribers, ordered by namespace and name.
func (c *Client) publish() {
	c.noteReferrers() // first: a receiver of the list asks for what its pods refer to
	list := make([]*corev1.Pod, 0, len(c.pods))
	for _, pod := range c.pods {
		list = append(list, pod.Pod)
	}
	slices.SortFunc(list, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	c.list.Publish(list)
}
