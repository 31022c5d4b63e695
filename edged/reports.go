package edged

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// Reports is where an Agent reports what is true on the node. Every method returns
// when the report is durable on the node. It reaches the cloud when the link stands,
// and only the newest of each kind does. In edgekit it is meta/kube;
// edgedtest.RunReports holds any implementation to this contract. All methods may be
// called by several goroutines, and keep nothing of their arguments.
type Reports interface {
	// Node reports the node: labels, capacity, addresses, conditions. If it returns an
	// error while Config.Unwritable gives one too, the cloud may have the report all
	// the same; the Agent reports again when the node can store.
	Node(ctx context.Context, node *corev1.Node) error
	// PodStatus reports a pod's status. Only the pod's namespace, name, uid and
	// status are used.
	PodStatus(ctx context.Context, pod *corev1.Pod) error
	// PodGone says that a pod with a deletion timestamp has left the node: nothing of
	// it runs and its volumes are removed. The API object is then deleted, provided
	// that it still has this uid.
	PodGone(ctx context.Context, pod *corev1.Pod) error
	// Event records a Kubernetes event.
	Event(ctx context.Context, event *corev1.Event) error
}

// LastReports is what a Reports may implement besides, to give back what was reported
// before the agent was restarted: what did not change meanwhile keeps the time of its
// last transition. What it returns belongs to the Agent.
//
// An error for what was never reported matches interface{ NotFound() bool }. Any error
// costs only those times.
type LastReports interface {
	// LastNode is the last report of the node.
	LastNode(ctx context.Context) (*corev1.Node, error)
	// LastPodStatus is the last report of the pod with this namespace, name and uid. A
	// static pod is reported under the uid of its mirror: its last report is that of
	// the mirror of this very manifest.
	LastPodStatus(ctx context.Context, pod *corev1.Pod) (*corev1.PodStatus, error)
}

// ClaimReporter is what a Reports may implement besides, to say that a claim's volume has
// grown. Without it the claim keeps its old size in the API server.
type ClaimReporter interface {
	// ClaimExpanded reports the size of a claim's volume. Only the claim's namespace,
	// name, uid and status.capacity are used. It returns when that is durable on the
	// node.
	ClaimExpanded(ctx context.Context, claim *corev1.PersistentVolumeClaim) error
}

// Mirrorer is what a Reports may implement besides, to show static pods in the API server as
// mirror pods. A mirror then comes back in the list of Objects; it is not run.
type Mirrorer interface {
	// MirrorPod reports the mirror of a static pod, which static.Mirror made. It
	// returns when that is durable on the node.
	MirrorPod(ctx context.Context, pod *corev1.Pod) error
}
