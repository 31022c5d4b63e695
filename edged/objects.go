package edged

import (
	"context"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Objects is where an Agent reads what the node must run. An implementation
// answers from what the node has stored, so that every method works while the
// cloud is out of reach. In edgekit it is meta/kube; edged/standalone is one for
// a node without an API server, and edgedtest.RunObjects holds any to this
// contract. All methods may be called by several goroutines. What they return is
// shared and must not be changed.
//
// An error for an object that does not exist matches interface{ NotFound() bool }.
type Objects interface {
	// Pods lists the pods that are bound to this node: the full list at once, and
	// the full list again after each change. The channel holds one value, the newest;
	// it is closed when ctx ends.
	Pods(ctx context.Context) (<-chan []*corev1.Pod, error)
	// ConfigMap reads a config map.
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	// Secret reads a secret.
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Services lists the Services of a namespace as far as the node knows them; the
	// cloud may send none. It does not wait for the cloud.
	Services(ctx context.Context, namespace string) ([]*corev1.Service, error)
	// Changed gets a value whenever a config map or secret may have changed, or what a
	// VolumeReader, a TrustBundleReader, a VolumeAttachmentReader or a RuntimeClassReader
	// reads. It holds one value; it is closed when ctx ends.
	Changed(ctx context.Context) <-chan struct{}
	// Token gets a token for a service account: from the store while it is fresh,
	// else from the cloud. While the cloud is out of reach the last token stays in
	// use.
	Token(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// BoundPodLister is what an Objects may implement besides, when its list may lack pods
// of this node for a while because its store was lost. Without it the first list is
// taken for complete, and what runs for other pods is ended at once.
type BoundPodLister interface {
	// Bound gives the uids of all pods that are bound to this node, for certain. An
	// error means that this is not known now.
	Bound(ctx context.Context) ([]types.UID, error)
}

// NodeReader is what an Objects may implement besides, to show the Node as the cloud last
// sent it, with the labels and taints that others set. Pods that no scheduler placed
// are then checked against those.
//
// An error for a Node that was never sent matches interface{ NotFound() bool }. With
// any error the Agent uses the labels that it reports itself.
type NodeReader interface {
	// OwnNode is the Node of this agent. Its status may be empty. It does not wait
	// for the cloud.
	OwnNode(ctx context.Context) (*corev1.Node, error)
}

// VolumeReader is what an Objects may implement besides, to show the claims that the
// node's pods refer to and the volumes that these are bound to. Without it a pod with
// a claim waits, and an event says why.
type VolumeReader interface {
	// PersistentVolumeClaim reads a claim.
	PersistentVolumeClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error)
	// PersistentVolume reads a volume.
	PersistentVolume(ctx context.Context, name string) (*corev1.PersistentVolume, error)
}

// CSIDriverReader is what an Objects may implement besides, to show what the CSI
// drivers of the node's volumes say of themselves. Without it each counts as one that
// wants its volumes attached.
type CSIDriverReader interface {
	// CSIDriver reads a driver's object.
	CSIDriver(ctx context.Context, name string) (*storagev1.CSIDriver, error)
}

// TrustBundleReader is what an Objects may implement besides, to show the
// ClusterTrustBundles that the node's pods project. Without it such a pod waits, and an
// event says why.
type TrustBundleReader interface {
	// TrustBundle gives the PEM text of a bundle. An error for one that does not exist
	// matches interface{ NotFound() bool }.
	TrustBundle(ctx context.Context, name string) (string, error)
	// TrustBundles gives the PEM texts of the bundles of a signer that the selector
	// matches, none if there is none. A nil selector matches none.
	TrustBundles(ctx context.Context, signer string, selector *metav1.LabelSelector) ([]string, error)
}

// PodCertificates is what an Objects may implement besides, to get certificates for pods
// that project them (podCertificate). Without it such a pod waits, and an event says why.
type PodCertificates interface {
	// PodCertificate gives the key and the certificate chain, in PEM and in this order, of
	// the source with podCertificate that has this index in a projected volume of the pod,
	// and when to ask again. While they cannot be renewed the last ones stay in use. An
	// error without a bundle says that there is none, yet or for good; one with a bundle that
	// it is not renewed for good.
	PodCertificate(ctx context.Context, pod *corev1.Pod, volume string, source int) (bundle []byte, again time.Time, err error)
}

// VolumeAttachmentReader is what an Objects may implement besides, to show which volumes
// the cloud has attached to the node. The Node then asks the attach-detach controller of
// the cluster to attach volumes, and says which of them are in use. Without it a pod with
// a volume that must be attached waits, and an event says why.
type VolumeAttachmentReader interface {
	// VolumeAttachment reads an attachment. An error for one that does not exist matches
	// interface{ NotFound() bool }.
	VolumeAttachment(ctx context.Context, name string) (*storagev1.VolumeAttachment, error)
	// OwnNode is that of NodeReader. Its status has at least volumesAttached and
	// volumesInUse: nothing is mounted before both have the volume.
	OwnNode(ctx context.Context) (*corev1.Node, error)
}

// RuntimeClassReader is what an Objects may implement besides, to show the runtime classes
// that the node's pods name. Without it a pod with one waits, and an event says why.
type RuntimeClassReader interface {
	// RuntimeHandler is the handler that a class names. An error for a class that does not
	// exist matches interface{ NotFound() bool }.
	RuntimeHandler(ctx context.Context, class string) (handler string, err error)
}

// NodeDeletionWatcher is what an Objects may implement besides, to say that the Node was
// deleted in the API server. The Agent then registers again at once, with the labels,
// annotations and taints of its Config, and records an event about it. Without it the
// Node stays away until something in its report changes.
type NodeDeletionWatcher interface {
	// NodeDeleted sends the Node as it was last known, each time that it was deleted
	// in the API server. The channel holds one value, the newest; it is closed when
	// ctx ends.
	NodeDeleted(ctx context.Context) <-chan *corev1.Node
}
