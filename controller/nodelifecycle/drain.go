package nodelifecycle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// DefaultDrainTimeout is the default of DrainConfig.Timeout.
const DefaultDrainTimeout = 5 * time.Minute

// DrainConfig says which node Drain drains. Client and Node are required.
type DrainConfig struct {
	Client kubernetes.Interface
	Node   string
	// Timeout bounds the wait for disruption budgets, and for pods to end. 0 means
	// DefaultDrainTimeout.
	Timeout time.Duration
	// Force drains pods that no controller replaces too.
	Force bool
}

// TimeoutError says which pods were not drained in time.
type TimeoutError struct {
	Node string
	Pods []string // namespace/name: why it is still there
}

// Error names some of the pods and what to do.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("nodelifecycle: node %s was not drained in time: %d pods are left (%s, ...): wait until their disruption budgets allow it and repeat, or end them with --force",
		e.Node, len(e.Pods), strings.Join(e.Pods[:min(3, len(e.Pods))], ", "))
}

// Drain makes the node unschedulable and evicts its pods by the Eviction API, so that
// PodDisruptionBudgets are respected, and waits until they have ended. Pods of DaemonSets,
// mirrors of static pods and pods that have ended are left. Where the node has no link,
// nothing there can end a pod: Drain does not wait for pods that were evicted. It returns the
// pods that it evicted, also with an error. It may be repeated.
func Drain(ctx context.Context, cfg DrainConfig) (evicted []string, err error) {
	if cfg.Client == nil || cfg.Node == "" || cfg.Timeout < 0 {
		return nil, errors.New("nodelifecycle: DrainConfig.Client and Node are required, and Timeout must not be negative")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultDrainTimeout
	}
	node, err := cfg.Client.CoreV1().Nodes().Get(ctx, cfg.Node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("%w: %s", ErrNoNode, cfg.Node)
	}
	if err != nil {
		return nil, fmt.Errorf("nodelifecycle: %w", err)
	}
	pods, err := drainable(ctx, cfg.Client, cfg.Node)
	if err != nil {
		return nil, err
	}
	if !cfg.Force {
		if err := refuseBare(cfg.Node, pods); err != nil {
			return nil, err
		}
	}
	if !node.Spec.Unschedulable {
		patch := []byte(`{"spec":{"unschedulable":true}}`)
		if _, err := cfg.Client.CoreV1().Nodes().Patch(ctx, cfg.Node, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			return nil, fmt.Errorf("nodelifecycle: make node %s unschedulable: %w", cfg.Node, err)
		}
	}
	c := nodeCondition(node, ConditionConnected)
	d := drain{cfg: cfg, connected: c != nil && c.Status == corev1.ConditionTrue, evicted: make(map[types.UID]string)}
	err = d.run(ctx)
	return d.names(), err
}

// BarePodsError says that no controller replaces some pods of a node.
type BarePodsError struct {
	Node string
	Pods []string // namespace/name
}

// Error names some of the pods and what to do.
func (e *BarePodsError) Error() string {
	return fmt.Sprintf("nodelifecycle: %d pods of node %s have no controller that replaces them (%s, ...): move them by hand, or end them for good with --force",
		len(e.Pods), e.Node, strings.Join(e.Pods[:min(3, len(e.Pods))], ", "))
}

// refuseBare returns a BarePodsError if no controller replaces some of the pods.
func refuseBare(node string, pods []*corev1.Pod) error {
	if bare := names(pods, func(p *corev1.Pod) bool { return metav1.GetControllerOf(p) == nil }); len(bare) > 0 {
		return &BarePodsError{Node: node, Pods: bare}
	}
	return nil
}

// drain is a Drain under way.
type drain struct {
	cfg       DrainConfig
	connected bool
	evicted   map[types.UID]string
}

func (d *drain) names() []string {
	return slices.Sorted(maps.Values(d.evicted))
}

// run evicts until no pod is left or the time is over.
func (d *drain) run(ctx context.Context) error {
	limit := time.Now().Add(d.cfg.Timeout)
	for {
		pods, err := drainable(ctx, d.cfg.Client, d.cfg.Node)
		if err != nil {
			return err
		}
		var left []string
		for _, pod := range pods {
			why, err := d.evict(ctx, pod)
			if err != nil {
				return err
			}
			if why != "" {
				left = append(left, pod.Namespace+"/"+pod.Name+": "+why)
			}
		}
		switch {
		case len(left) == 0:
			return nil
		case time.Now().After(limit):
			return &TimeoutError{Node: d.cfg.Node, Pods: left}
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}

// evict evicts a pod, and returns why it is still there; "" if it need not be waited for.
func (d *drain) evict(ctx context.Context, pod *corev1.Pod) (why string, err error) {
	if _, ok := d.evicted[pod.UID]; ok || pod.DeletionTimestamp != nil {
		if !d.connected {
			return "", nil
		}
		return "it has not ended", nil
	}
	err = d.cfg.Client.PolicyV1().Evictions(pod.Namespace).Evict(ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name},
		DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}},
	})
	switch {
	case apierrors.IsTooManyRequests(err):
		return "a disruption budget does not allow it", nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone, or another pod of that name
		return "", nil
	case err != nil:
		return "", fmt.Errorf("nodelifecycle: evict pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	d.evicted[pod.UID] = pod.Namespace + "/" + pod.Name
	if !d.connected {
		return "", nil
	}
	return "it has not ended", nil
}

// drainable lists the node's pods that somebody may want to keep: not those of DaemonSets,
// mirrors of static pods, nor those that have ended.
func drainable(ctx context.Context, client kubernetes.Interface, node string) ([]*corev1.Pod, error) {
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
	})
	if err != nil {
		return nil, fmt.Errorf("nodelifecycle: %w", err)
	}
	var kept []*corev1.Pod
	for i := range pods.Items {
		pod := &pods.Items[i]
		owner := metav1.GetControllerOf(pod)
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		_, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]
		if pod.Spec.NodeName == node && !ended && !mirror && (owner == nil || owner.Kind != "DaemonSet") {
			kept = append(kept, pod)
		}
	}
	return kept, nil
}

// names returns namespace/name of the pods that match, sorted.
func names(pods []*corev1.Pod, match func(*corev1.Pod) bool) []string {
	var all []string
	for _, pod := range pods {
		if match(pod) {
			all = append(all, pod.Namespace+"/"+pod.Name)
		}
	}
	slices.Sort(all)
	return all
}
