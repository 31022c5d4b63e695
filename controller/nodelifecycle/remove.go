package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	// removeWait is how long Remove waits for cloudcore to end the node's session.
	removeWait = 30 * time.Second
	// removeWatch is how long Remove checks that the Node stays deleted: a report that was
	// on its way when the session ended would register it again.
	removeWatch = 3 * time.Second
	removePoll  = 500 * time.Millisecond
)

// RemoveConfig says which node Remove removes. Client, Node and RevokeIdentity are required.
type RemoveConfig struct {
	Client kubernetes.Interface
	Node   string
	// RevokeIdentity makes the node's identity worthless, upon which its session ends.
	RevokeIdentity func(ctx context.Context) error
	// Force removes the node even if pods are bound to it that 'kubectl drain' would move.
	Force bool
}

// Removed is what Remove did.
type Removed struct {
	Pods      []string // namespace/name of the pods that were ended in the API server
	Connected bool     // no cloudcore has reported yet that the session ended: probably none runs
}

// PodsError says that a node still has pods that 'kubectl drain' would move.
type PodsError struct {
	Node string
	Pods []string // namespace/name
}

// Error names some of the pods and what to do.
func (e *PodsError) Error() string {
	some := e.Pods[:min(3, len(e.Pods))]
	return fmt.Sprintf("nodelifecycle: node %s has %d pods (%s, ...): move them with 'kubectl drain %s --ignore-daemonsets', or end them with --force",
		e.Node, len(e.Pods), strings.Join(some, ", "), e.Node)
}

// Remove removes a node for good: it revokes its identity, waits for its session to end, deletes
// its pods in the API server, and deletes the Node. If only the Node were deleted, a connected
// node would register again. Remove may be repeated, also when the Node is already deleted.
func Remove(ctx context.Context, cfg RemoveConfig) (Removed, error) {
	var done Removed
	if cfg.Client == nil || cfg.Node == "" || cfg.RevokeIdentity == nil {
		return done, errors.New("nodelifecycle: RemoveConfig.Client, Node and RevokeIdentity are required")
	}
	node, err := edgeNode(ctx, cfg.Client, cfg.Node)
	if err != nil && !errors.Is(err, ErrNoNode) {
		return done, err
	}
	if node != nil {
		if err := cfg.checkPods(ctx); err != nil {
			return done, err
		}
	}
	if err := cfg.RevokeIdentity(ctx); err != nil {
		return done, err
	}
	if done.Connected, err = cfg.waitDisconnected(ctx); err != nil {
		return done, fmt.Errorf("nodelifecycle: %w", err)
	}
	if done.Pods, err = endPods(ctx, cfg.Client, cfg.Node); err != nil {
		return done, fmt.Errorf("nodelifecycle: %w", err)
	}
	slices.Sort(done.Pods)
	if err := cfg.deleteNode(ctx); err != nil {
		return done, fmt.Errorf("nodelifecycle: %w", err)
	}
	return done, nil
}

// checkPods looks for pods that somebody may want to keep: not those of
// DaemonSets, mirrors of static pods, nor those that have ended.
func (cfg *RemoveConfig) checkPods(ctx context.Context) error {
	if cfg.Force {
		return nil
	}
	pods, err := drainable(ctx, cfg.Client, cfg.Node)
	if err != nil {
		return err
	}
	if kept := names(pods, func(*corev1.Pod) bool { return true }); len(kept) > 0 {
		return &PodsError{Node: cfg.Node, Pods: kept}
	}
	return nil
}

// waitDisconnected waits until the Node's condition says that its link is down, and reports
// whether the condition still says that the link is up.
func (cfg *RemoveConfig) waitDisconnected(ctx context.Context) (connected bool, err error) {
	limit := time.Now().Add(removeWait)
	for {
		node, err := cfg.Client.CoreV1().Nodes().Get(ctx, cfg.Node, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if c := nodeCondition(node, ConditionConnected); c == nil || c.Status != corev1.ConditionTrue {
			return false, nil
		}
		if time.Now().After(limit) {
			return true, nil
		}
		if err := pause(ctx); err != nil {
			return false, err
		}
	}
}

// deleteNode deletes the Node, and deletes it again if it comes back soon.
func (cfg *RemoveConfig) deleteNode(ctx context.Context) error {
	for limit := time.Now().Add(removeWatch); ; {
		err := cfg.Client.CoreV1().Nodes().Delete(ctx, cfg.Node, metav1.DeleteOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
		if time.Now().After(limit) {
			return nil
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-time.After(removePoll):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
