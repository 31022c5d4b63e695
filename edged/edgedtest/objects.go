package edgedtest

import (
	"context"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged"
)

var _ interface {
	edged.Objects
	edged.BoundPodLister
	edged.NodeReader
	edged.VolumeReader
	edged.VolumeAttachmentReader
	edged.NodeDeletionWatcher
	edged.RuntimeClassReader
} = (*API)(nil)

// Pods is that of edged.Objects.
func (a *API) Pods(ctx context.Context) (<-chan []*corev1.Pod, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := make(chan []*corev1.Pod, 1)
	ch <- slices.Clone(a.pods)
	subscribe(ctx, &a.mu, &a.lists, ch)
	return ch, nil
}

// ConfigMap is that of edged.Objects.
func (a *API) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if cm := a.maps[types.NamespacedName{Namespace: namespace, Name: name}]; cm != nil {
		return cm.DeepCopy(), nil
	}
	return nil, &notFoundError{"config map " + namespace + "/" + name}
}

// Secret is that of edged.Objects.
func (a *API) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.secrets[types.NamespacedName{Namespace: namespace, Name: name}]; s != nil {
		return s.DeepCopy(), nil
	}
	return nil, &notFoundError{"secret " + namespace + "/" + name}
}

// PersistentVolumeClaim is that of edged.VolumeReader.
func (a *API) PersistentVolumeClaim(_ context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if claim := a.claims[types.NamespacedName{Namespace: namespace, Name: name}]; claim != nil {
		return claim.DeepCopy(), nil
	}
	return nil, &notFoundError{"persistentvolumeclaim " + namespace + "/" + name}
}

// PersistentVolume is that of edged.VolumeReader.
func (a *API) PersistentVolume(_ context.Context, name string) (*corev1.PersistentVolume, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if pv := a.volumes[name]; pv != nil {
		return pv.DeepCopy(), nil
	}
	return nil, &notFoundError{"persistentvolume " + name}
}

// VolumeAttachment is that of edged.VolumeAttachmentReader.
func (a *API) VolumeAttachment(_ context.Context, name string) (*storagev1.VolumeAttachment, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if attachment := a.attachments[name]; attachment != nil {
		return attachment.DeepCopy(), nil
	}
	return nil, &notFoundError{"volumeattachment " + name}
}

// RuntimeHandler is that of edged.RuntimeClassReader.
func (a *API) RuntimeHandler(_ context.Context, class string) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if found := a.classes[class]; found != nil {
		return found.Handler, nil
	}
	return "", &notFoundError{"runtimeclass " + class}
}

// Services is that of edged.Objects.
func (a *API) Services(_ context.Context, namespace string) ([]*corev1.Service, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*corev1.Service
	for _, s := range a.services {
		if s.Namespace == namespace {
			out = append(out, s.DeepCopy())
		}
	}
	return out, nil
}

// Changed is that of edged.Objects.
func (a *API) Changed(ctx context.Context) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := make(chan struct{}, 1)
	subscribe(ctx, &a.mu, &a.changes, ch)
	return ch
}

// Token is that of edged.Objects.
func (a *API) Token(_ context.Context, namespace, account string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return newToken(namespace, account, req), nil
}

// Bound is that of edged.BoundPodLister.
func (a *API) Bound(context.Context) ([]types.UID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]types.UID, len(a.pods))
	for i, p := range a.pods {
		out[i] = p.UID
	}
	return out, nil
}

// OwnNode is that of edged.NodeReader.
func (a *API) OwnNode(context.Context) (*corev1.Node, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ownNode == nil {
		return nil, &notFoundError{"node"}
	}
	return a.ownNode.DeepCopy(), nil
}

// NodeDeleted is that of edged.NodeDeletionWatcher.
func (a *API) NodeDeleted(ctx context.Context) <-chan *corev1.Node {
	a.mu.Lock()
	defer a.mu.Unlock()
	ch := make(chan *corev1.Node, 1)
	subscribe(ctx, &a.mu, &a.deletions, ch)
	return ch
}
