package standalone

import (
	"context"
	"errors"
	"log/slog"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
)

var (
	_ edged.Objects = (*Node)(nil)
	_ edged.Reports = (*Node)(nil)
)

// ErrNoTokens is the error of Token: service account tokens are issued by an API server.
var ErrNoTokens = errors.New("edged/standalone: this node has no API server that issues service account tokens: set automountServiceAccountToken to false")

// NotFoundError says that an object does not exist. Its method NotFound reports true.
type NotFoundError struct{ Kind, Namespace, Name string }

// Error names the object.
func (e *NotFoundError) Error() string {
	return "edged/standalone: " + e.Kind + " " + e.Namespace + "/" + e.Name + " does not exist: this node has no API server"
}

// NotFound reports true.
func (*NotFoundError) NotFound() bool { return true }

// Node is what an edged.Agent without an API server has above it.
type Node struct{ log *slog.Logger }

// New makes a Node that logs the events of pods and of the node, Warnings at the
// level Warn. A nil logger discards them.
func New(log *slog.Logger) *Node {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Node{log: log}
}

// Pods sends one empty list.
func (n *Node) Pods(ctx context.Context) (<-chan []*corev1.Pod, error) {
	ch := make(chan []*corev1.Pod, 1)
	ch <- nil
	context.AfterFunc(ctx, func() { close(ch) })
	return ch, nil
}

// ConfigMap gives a NotFoundError.
func (n *Node) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return nil, &NotFoundError{"config map", namespace, name}
}

// Secret gives a NotFoundError.
func (n *Node) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	return nil, &NotFoundError{"secret", namespace, name}
}

// Services lists none.
func (n *Node) Services(context.Context, string) ([]*corev1.Service, error) { return nil, nil }

// Changed never sends anything.
func (n *Node) Changed(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	context.AfterFunc(ctx, func() { close(ch) })
	return ch
}

// Token gives ErrNoTokens.
func (n *Node) Token(context.Context, string, string, *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return nil, ErrNoTokens
}

// Node logs the conditions of the node.
func (n *Node) Node(ctx context.Context, node *corev1.Node) error {
	for _, c := range node.Status.Conditions {
		n.log.DebugContext(ctx, "node condition", "type", c.Type, "status", c.Status, "reason", c.Reason)
	}
	return nil
}

// PodStatus logs the phase of a pod. An Agent reports the status of a static pod only
// where an API server shows it; Agent.Pods has it always.
func (n *Node) PodStatus(ctx context.Context, pod *corev1.Pod) error {
	n.log.DebugContext(ctx, "pod status", "namespace", pod.Namespace, "pod", pod.Name, "phase", pod.Status.Phase)
	return nil
}

// PodGone logs that nothing of a pod is left.
func (n *Node) PodGone(ctx context.Context, pod *corev1.Pod) error {
	n.log.InfoContext(ctx, "pod is gone", "namespace", pod.Namespace, "pod", pod.Name)
	return nil
}

// Event logs the event.
func (n *Node) Event(ctx context.Context, e *corev1.Event) error {
	level := slog.LevelInfo
	if e.Type == corev1.EventTypeWarning {
		level = slog.LevelWarn
	}
	n.log.Log(ctx, level, e.Message, "reason", e.Reason, "kind", e.InvolvedObject.Kind, "name", e.InvolvedObject.Name)
	return nil
}
