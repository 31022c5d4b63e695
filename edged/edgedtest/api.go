package edgedtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// tokenLife is how long a token of an API is good where nothing else is asked for.
const tokenLife = time.Hour

// notFoundError is the error for an object that does not exist.
type notFoundError struct{ what string }

func (e *notFoundError) Error() string { return "edgedtest: " + e.what + " not found" }

// NotFound reports true: see edged.Objects.
func (*notFoundError) NotFound() bool { return true }

// API is an API server in memory, as one node sees it. It may be used by several
// goroutines. What it returns are copies, except the pods that Pods sends, which are
// shared and must not be changed, as edged.Objects says.
type API struct {
	mu          sync.Mutex
	version     int
	pods        []*corev1.Pod
	maps        map[types.NamespacedName]*corev1.ConfigMap
	secrets     map[types.NamespacedName]*corev1.Secret
	claims      map[types.NamespacedName]*corev1.PersistentVolumeClaim
	volumes     map[string]*corev1.PersistentVolume
	attachments map[string]*storagev1.VolumeAttachment
	classes     map[string]*nodev1.RuntimeClass
	services    []*corev1.Service
	ownNode     *corev1.Node
	node        *corev1.Node
	statuses    map[types.UID]*corev1.PodStatus
	gone        map[types.UID]bool
	events      []*corev1.Event
	lists       []chan []*corev1.Pod
	changes     []chan struct{}
	deletions   []chan *corev1.Node
	reported    chan struct{} // closed and replaced with each report
}

// NewAPI makes an API that has nothing.
func NewAPI() *API {
	return &API{
		maps: make(map[types.NamespacedName]*corev1.ConfigMap), secrets: make(map[types.NamespacedName]*corev1.Secret),
		claims: make(map[types.NamespacedName]*corev1.PersistentVolumeClaim), volumes: make(map[string]*corev1.PersistentVolume),
		attachments: make(map[string]*storagev1.VolumeAttachment), classes: make(map[string]*nodev1.RuntimeClass),
		statuses: make(map[types.UID]*corev1.PodStatus), gone: make(map[types.UID]bool), reported: make(chan struct{}),
	}
}

// PutPod creates or replaces a pod, by its uid.
func (a *API) PutPod(pod *corev1.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	pod = pod.DeepCopy()
	pod.ResourceVersion = a.nextVersionLocked()
	i := slices.IndexFunc(a.pods, func(o *corev1.Pod) bool { return o.UID == pod.UID })
	a.pods = slices.Clone(a.pods) // lists that were sent stay as they are
	if i < 0 {
		a.pods = append(a.pods, pod)
	} else {
		a.pods[i] = pod
	}
	a.sendPodsLocked()
}

// DeletePod marks a pod as deleted, as kubectl delete does: it goes when the node
// reports that nothing of it is left.
func (a *API) DeletePod(pod *corev1.Pod, grace time.Duration) {
	pod = pod.DeepCopy()
	now, seconds := metav1.Now(), int64(grace/time.Second)
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &seconds
	a.PutPod(pod)
}

// RemovePod removes a pod at once, as a forced deletion does.
func (a *API) RemovePod(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.removePodLocked(uid)
}

// put makes an object what the API has under a key.
func put[K comparable, T interface{ DeepCopy() T }](a *API, all map[K]T, key K, o T) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all[key] = o.DeepCopy()
	a.sendChangeLocked()
}

// remove takes an object from the API.
func remove[K comparable, T any](a *API, all map[K]T, key K) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(all, key)
	a.sendChangeLocked()
}

// PutConfigMap creates or replaces a config map.
func (a *API) PutConfigMap(cm *corev1.ConfigMap) {
	put(a, a.maps, types.NamespacedName{Namespace: cm.Namespace, Name: cm.Name}, cm)
}

// RemoveConfigMap deletes a config map.
func (a *API) RemoveConfigMap(namespace, name string) {
	remove(a, a.maps, types.NamespacedName{Namespace: namespace, Name: name})
}

// PutSecret creates or replaces a secret.
func (a *API) PutSecret(s *corev1.Secret) {
	put(a, a.secrets, types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, s)
}

// PutPersistentVolumeClaim creates or replaces a claim.
func (a *API) PutPersistentVolumeClaim(claim *corev1.PersistentVolumeClaim) {
	put(a, a.claims, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}, claim)
}

// RemovePersistentVolumeClaim deletes a claim.
func (a *API) RemovePersistentVolumeClaim(namespace, name string) {
	remove(a, a.claims, types.NamespacedName{Namespace: namespace, Name: name})
}

// PutPersistentVolume creates or replaces a volume.
func (a *API) PutPersistentVolume(pv *corev1.PersistentVolume) {
	put(a, a.volumes, pv.Name, pv)
}

// PutVolumeAttachment creates or replaces an attachment.
func (a *API) PutVolumeAttachment(attachment *storagev1.VolumeAttachment) {
	put(a, a.attachments, attachment.Name, attachment)
}

// PutRuntimeClass creates or replaces a runtime class.
func (a *API) PutRuntimeClass(class *nodev1.RuntimeClass) { put(a, a.classes, class.Name, class) }

// RemoveRuntimeClass deletes a runtime class.
func (a *API) RemoveRuntimeClass(name string) { remove(a, a.classes, name) }

// PutService creates or replaces a Service.
func (a *API) PutService(s *corev1.Service) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.services = slices.DeleteFunc(a.services, func(o *corev1.Service) bool { return o.Namespace == s.Namespace && o.Name == s.Name })
	a.services = append(a.services, s.DeepCopy())
}

// PutNode sets the Node as others have edited it, with their labels and taints.
func (a *API) PutNode(node *corev1.Node) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ownNode = node.DeepCopy()
	a.sendChangeLocked()
}

// DeleteNode deletes the Node, as kubectl delete node does.
func (a *API) DeleteNode() {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.ownNode
	if was == nil {
		was = a.node
	}
	if was == nil {
		return
	}
	a.ownNode = nil
	for _, ch := range a.deletions {
		replaceValue(ch, was.DeepCopy())
	}
}

// Status is the last reported status of a pod; nil if none was reported.
func (a *API) Status(uid types.UID) *corev1.PodStatus {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.statuses[uid].DeepCopy()
}

// IsReady reports whether the last reported status of a pod has the condition Ready.
func (a *API) IsReady(uid types.UID) bool {
	st := a.Status(uid)
	return st != nil && slices.ContainsFunc(st.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// IsGone reports whether the node has said that nothing of a pod is left.
func (a *API) IsGone(uid types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.gone[uid]
}

// ReportedNode is the last reported Node; nil if none was reported.
func (a *API) ReportedNode() *corev1.Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.node.DeepCopy()
}

// Events lists the recorded events, the oldest first.
func (a *API) Events() []*corev1.Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]*corev1.Event, len(a.events))
	for i, e := range a.events {
		out[i] = e.DeepCopy()
	}
	return out
}

// MirrorPods lists the pods that show static pods.
func (a *API) MirrorPods() []*corev1.Pod {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*corev1.Pod
	for _, p := range a.pods {
		if p.Annotations[corev1.MirrorPodAnnotationKey] != "" {
			out = append(out, p.DeepCopy())
		}
	}
	return out
}

// Wait waits until ok reports true, and calls it again after each report of the
// node. It gives the error of ctx if that ends first.
func (a *API) Wait(ctx context.Context, ok func() bool) error {
	for {
		a.mu.Lock()
		reported := a.reported
		a.mu.Unlock()
		if ok() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("edgedtest: %w", ctx.Err())
		case <-reported:
		}
	}
}

func (a *API) nextVersionLocked() string {
	a.version++
	return strconv.Itoa(a.version)
}

func (a *API) removePodLocked(uid types.UID) {
	a.pods = slices.DeleteFunc(slices.Clone(a.pods), func(o *corev1.Pod) bool { return o.UID == uid })
	a.sendPodsLocked()
}

func (a *API) sendPodsLocked() {
	for _, ch := range a.lists {
		replaceValue(ch, slices.Clone(a.pods))
	}
}

func (a *API) sendChangeLocked() {
	for _, ch := range a.changes {
		replaceValue(ch, struct{}{})
	}
}

func (a *API) markReportedLocked() {
	close(a.reported)
	a.reported = make(chan struct{})
}

// replaceValue puts a value into a channel that holds one: the newest counts. It has
// one sender at a time.
func replaceValue[T any](ch chan T, value T) {
	select {
	case <-ch:
	default:
	}
	ch <- value
}

// subscribe adds a channel to a list until ctx ends, and then closes it.
func subscribe[T any](ctx context.Context, mu *sync.Mutex, list *[]chan T, ch chan T) {
	*list = append(*list, ch)
	context.AfterFunc(ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		*list = slices.DeleteFunc(*list, func(o chan T) bool { return o == ch })
		close(ch)
	})
}

// errNoUID is for a pod without what every object of an API server has.
var errNoUID = errors.New("edgedtest: the pod has no uid")

// newToken makes a token that is good for the time that is asked for.
func newToken(namespace, account string, req *authenticationv1.TokenRequest) *authenticationv1.TokenRequest {
	out := req.DeepCopy()
	life := tokenLife
	if s := req.Spec.ExpirationSeconds; s != nil {
		life = time.Duration(*s) * time.Second
	}
	out.Status = authenticationv1.TokenRequestStatus{Token: namespace + "." + account, ExpirationTimestamp: metav1.NewTime(time.Now().Add(life))}
	return out
}
