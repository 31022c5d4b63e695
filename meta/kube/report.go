package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/jsonlimit"
	"github.com/edgekit/edgekit/meta/resources"
)

// inMemory is implemented by a Manager that can also report to the cloud what the store
// cannot write; manager.Manager does.
type inMemory interface {
	UpdateInMemory(ctx context.Context, o meta.Object) error
}

// Node reports the node: its labels and annotations, its spec at registration, and its
// status. It returns when the report is durable here; a report equal to the last is
// dropped. When the store cannot write to its disk, the report is sent to the cloud all
// the same, since an operator needs it then; the error still says that it is not durable.
func (c *Client) Node(ctx context.Context, node *corev1.Node) error {
	if node.Name != c.cfg.Node {
		return fmt.Errorf("meta/kube: report of node %q on node %q", node.Name, c.cfg.Node)
	}
	plain := *node
	plain.ManagedFields = nil
	report := meta.Object{Key: meta.Key{Resource: resources.Nodes, Name: node.Name}}
	err := c.send(ctx, c.cfg.Manager.Update, report, plain)
	if m, can := c.cfg.Manager.(inMemory); can && meta.TakesNothing(err) {
		err = errors.Join(err, c.send(ctx, m.UpdateInMemory, report, plain))
	}
	return err
}

// LastNode returns the last report that Node made durable here, also before a restart.
// Without one the error is a NotFoundError.
func (c *Client) LastNode(ctx context.Context) (*corev1.Node, error) {
	return lastReport[corev1.Node](ctx, c, meta.Key{Resource: resources.Nodes, Name: c.cfg.Node})
}

// PodStatus reports a pod's status. Only the pod's namespace, name, uid and
// status are used. It returns when the report is durable here; a report equal
// to the last is dropped.
func (c *Client) PodStatus(ctx context.Context, pod *corev1.Pod) error {
	report := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Status:     pod.Status,
	}
	return c.send(ctx, c.cfg.Manager.Update, meta.Object{Key: podKey(resources.PodStatus, pod)}, report)
}

// LastPodStatus is the last status of the pod with this namespace, name and uid
// that PodStatus made durable here, also before a restart. A static pod is
// reported under the uid of its mirror: its last status is the one of the mirror
// that the node has of this very manifest. Without one the error is a
// NotFoundError.
func (c *Client) LastPodStatus(ctx context.Context, pod *corev1.Pod) (*corev1.PodStatus, error) {
	key := podKey(resources.PodStatus, pod)
	last, err := lastReport[corev1.Pod](ctx, c, key)
	if err != nil {
		return nil, err
	}
	if last.UID == pod.UID {
		return &last.Status, nil
	}
	shown, err := c.mirrorUID(ctx, pod)
	if err != nil {
		return nil, err
	}
	if shown == "" || shown != last.UID {
		return nil, &NotFoundError{key} // the report is of an earlier pod of this name
	}
	return &last.Status, nil
}

// mirrorUID returns the uid of the static pod's mirror in the store. The mirror's
// annotation has the hash of the manifest, which is the static pod's uid. It is "" if
// there is no mirror, or one of another manifest.
func (c *Client) mirrorUID(ctx context.Context, pod *corev1.Pod) (types.UID, error) {
	key := podKey(resources.Pods, pod)
	r, err := c.cfg.Store.Get(ctx, meta.Down+key.Path())
	if errors.Is(err, meta.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", wrap(key, err)
	}
	o, err := meta.DecodeObject(meta.Down, r)
	if err != nil {
		return "", wrap(key, err)
	}
	var shown metav1.PartialObjectMetadata
	if err := jsonlimit.Unmarshal(o.Body, &shown); err != nil {
		return "", wrap(key, err)
	}
	if shown.Annotations[corev1.MirrorPodAnnotationKey] != string(pod.UID) {
		return "", nil
	}
	return shown.UID, nil
}

// MirrorPod reports the mirror of a static pod: the cloud creates it. It returns
// when that is durable here; a report equal to the last is dropped.
func (c *Client) MirrorPod(ctx context.Context, pod *corev1.Pod) error {
	return c.send(ctx, c.cfg.Manager.Insert, meta.Object{Key: podKey(resources.Pods, pod)}, pod)
}

// PodGone reports that nothing of a pod is left here: the cloud then deletes the API
// object, provided that it still has this uid. It returns when that is durable here.
func (c *Client) PodGone(ctx context.Context, pod *corev1.Pod) error {
	if pod.UID == "" {
		return errors.New("meta/kube: pod " + pod.Namespace + "/" + pod.Name + " has no uid: another of that name could be removed for it")
	}
	how := metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: &metav1.Preconditions{UID: &pod.UID}}
	return c.send(ctx, c.cfg.Manager.Delete, meta.Object{Key: podKey(resources.Pods, pod)}, how)
}

// CSINode reports which CSI drivers this node has. It returns when that is durable
// here; a report equal to the last is dropped.
func (c *Client) CSINode(ctx context.Context, node *storagev1.CSINode) error {
	if node.Name != c.cfg.Node {
		return fmt.Errorf("meta/kube: report of node %q on node %q", node.Name, c.cfg.Node)
	}
	return c.send(ctx, c.cfg.Manager.Update, meta.Object{Key: meta.Key{Resource: resources.CSINodes, Name: node.Name}}, node)
}

// DRADrivers reports which DRA drivers this node has: the cloud deletes the node's
// ResourceSlices of all others. It returns when that is durable here; a report equal to the
// last is dropped, and so is one of none from a node that never had any.
func (c *Client) DRADrivers(ctx context.Context, names []string) error {
	key := meta.Key{Resource: resources.ResourceSlices, Name: c.cfg.Node}
	report := resources.DRADrivers{Drivers: append([]string{}, names...)}
	if len(names) == 0 {
		if _, err := lastReport[resources.DRADrivers](ctx, c, key); errors.Is(err, meta.ErrNotFound) {
			return nil
		}
	}
	return c.send(ctx, c.cfg.Manager.Update, meta.Object{Key: key}, report)
}

// ClaimExpanded reports the size to which this node has grown a claim's volume. Only
// the claim's namespace, name, uid and status.capacity are used. It returns when that
// is durable here.
func (c *Client) ClaimExpanded(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.UID == "" {
		return errors.New("meta/kube: claim " + claim.Namespace + "/" + claim.Name + " has no uid: another of that name could be meant")
	}
	report := corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		Status:     corev1.PersistentVolumeClaimStatus{Capacity: claim.Status.Capacity},
	}
	key := meta.Key{Resource: resources.PersistentVolumeClaimStatus, Namespace: claim.Namespace, Name: claim.Name}
	return c.send(ctx, c.cfg.Manager.Update, meta.Object{Key: key}, report)
}

// Event records a Kubernetes event. It returns when that is durable here. When
// more wait than the outbox takes, the oldest are dropped.
func (c *Client) Event(ctx context.Context, event *corev1.Event) error {
	plain := *event
	plain.ManagedFields = nil
	key := meta.Key{Resource: resources.Events, Namespace: event.Namespace, Name: event.Name}
	body, err := json.Marshal(plain)
	if err == nil {
		err = c.cfg.Manager.Append(ctx, key, body)
	}
	if err != nil {
		return fmt.Errorf("meta/kube: event %s: %w", key, err)
	}
	return nil
}

// lastReport reads the report under key in the Up area. A request to delete does not
// count as one.
func lastReport[T any](ctx context.Context, c *Client, key meta.Key) (*T, error) {
	r, err := c.cfg.Store.Get(ctx, meta.Up+key.Path())
	if err != nil {
		return nil, wrap(key, err)
	}
	o, err := meta.DecodeObject(meta.Up, r)
	if err != nil {
		return nil, wrap(key, err)
	}
	if o.Deleted {
		return nil, &NotFoundError{key}
	}
	v := new(T)
	if err := jsonlimit.Unmarshal(o.Body, v); err != nil {
		return nil, wrap(key, err)
	}
	return v, nil
}

func podKey(resource string, pod *corev1.Pod) meta.Key {
	return meta.Key{Resource: resource, Namespace: pod.Namespace, Name: pod.Name}
}

func (c *Client) send(ctx context.Context, how func(context.Context, meta.Object) error, o meta.Object, body any) error {
	var err error
	if o.Body, err = json.Marshal(body); err == nil {
		err = how(ctx, o)
	}
	if err != nil {
		return fmt.Errorf("meta/kube: report of %s: %w", o.Key, err)
	}
	return nil
}
