package edged

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Objects is where an Agent learns what the node must run. It answers from
// what the node has stored, so that every method works while the cloud is out
// of reach. Its implementation in edgekit is meta/client. What it returns is
// shared and must not be changed.
//
// The error for an object that is not there matches
// interface{ NotFound() bool }.
type Objects interface {
	// Pods lists the pods bound to this node and then sends every change.
	// The first value sent is the full list; each later one is the full list
	// again. The channel holds one value, the newest; it is closed when ctx
	// ends.
	Pods(ctx context.Context) (<-chan []*corev1.Pod, error)
	// ConfigMap reads a config map.
	ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error)
	// Secret reads a secret.
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
	// Services lists the Services of a namespace as far as the node knows
	// them; the cloud may send none. It does not wait for the cloud.
	Services(ctx context.Context, namespace string) ([]*corev1.Service, error)
	// Changed gets a value whenever a config map or secret may have changed.
	// It holds one value; it is closed when ctx ends.
	Changed(ctx context.Context) <-chan struct{}
	// Token gets a token for a service account, from the store while it is
	// fresh, else from the cloud; offline the last one stays in use.
	Token(ctx context.Context, namespace, serviceAccount string, req *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Reports is where an Agent says what is true on the node. Every method
// returns when the report is durable on the node; it reaches the cloud when a
// link stands, newest value only.
type Reports interface {
	// Node reports the node: labels, capacity, addresses, conditions. With an
	// error while Config.Unwritable gives one too, the cloud may have been told
	// all the same; the Agent reports again when the node can store.
	Node(ctx context.Context, node *corev1.Node) error
	// PodStatus reports a pod's status. Only the pod's namespace, name, uid
	// and status are used.
	PodStatus(ctx context.Context, pod *corev1.Pod) error
	// PodGone says that a pod with a deletion timestamp has left the node for
	// good: nothing of it runs and its volumes are gone. The API object is
	// then removed, provided it still has this uid.
	PodGone(ctx context.Context, pod *corev1.Pod) error
	// Event records a Kubernetes event.
	Event(ctx context.Context, event *corev1.Event) error
}

// Recaller is what a Reports may have besides, to tell an Agent what it said
// before it was restarted: what did not change meanwhile keeps the time of its
// last transition. Its implementation in edgekit is meta/client. What it
// returns belongs to the Agent.
//
// The error for what was never reported matches
// interface{ NotFound() bool }; any error only costs the times.
type Recaller interface {
	// LastNode is the last report of the node.
	LastNode(ctx context.Context) (*corev1.Node, error)
	// LastPodStatus is the last report of the pod with this namespace, name
	// and uid. A static pod, which is reported under the uid of its mirror, is
	// recalled by the mirror of this very manifest.
	LastPodStatus(ctx context.Context, pod *corev1.Pod) (*corev1.PodStatus, error)
}

// Census is what an Objects may have besides when its list may lack pods of this
// node for a while, because what it has stored was lost. Without it the first
// list is taken for whole, and what runs for other pods is ended at once.
type Census interface {
	// Bound gives the uids of all pods that are bound to this node, for
	// certain. An error means that this is not known now.
	Bound(ctx context.Context) ([]types.UID, error)
}

// Mirrorer is what a Reports may have besides, to show static pods in the API
// server. Such a mirror then comes back in the list of Objects; it is not run.
type Mirrorer interface {
	// MirrorPod reports the mirror of a static pod, which static.Mirror made.
	// It returns when that is durable on the node.
	MirrorPod(ctx context.Context, pod *corev1.Pod) error
}

// NodeReader is what an Objects may have besides, to show the Node as the cloud
// last sent it, with the labels and taints that others gave it. Pods that no
// scheduler placed are then judged by them. Its implementation in edgekit is
// meta/client.
//
// The error for a Node that was never sent matches
// interface{ NotFound() bool }; any error leaves the Agent with the labels that
// it reports itself.
type NodeReader interface {
	// OwnNode is the Node of this agent. Its status may be empty. It does not
	// wait for the cloud.
	OwnNode(ctx context.Context) (*corev1.Node, error)
}

// Registrar is what an Objects may have besides, to tell an Agent that its Node
// was deleted in the API server. The Agent then registers again at once, with
// the labels, annotations and taints of its Config, and says so in an event.
// Without it the Node stays away until something in its report changes.
type Registrar interface {
	// NodeDeleted sends the Node as it was last known, each time that it was
	// deleted in the API server. The channel holds one value, the newest; it is
	// closed when ctx ends.
	NodeDeleted(ctx context.Context) <-chan *corev1.Node
}
