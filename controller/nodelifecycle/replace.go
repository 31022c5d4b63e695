package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// ReplaceConfig says which node Replace replaces by which. All fields but Dynamic and Force
// are required.
type ReplaceConfig struct {
	Client   kubernetes.Interface
	Dynamic  dynamic.Interface // for Devices; nil leaves them alone
	Old, New string            // both are edge nodes; Old may be deleted already
	// RevokeIdentity makes the identity of Old worthless, upon which its session ends.
	RevokeIdentity func(ctx context.Context) error
	// Force ends pods that no controller replaces.
	Force bool
}

// Replaced is what Replace did.
type Replaced struct {
	Labels, Annotations, Taints []string // keys that were carried over
	Devices                     []string // namespace/name of the Devices that were moved
	Volumes                     []Volume // that stay on the disk of Old
	Removed
}

// Replace gives a node's place to another one that has joined already. It carries over the
// labels, annotations and taints that others have set on the Node, revokes the identity of the
// old one, moves its Devices, ends its pods in the API server, upon which their owners make
// others, and deletes the old Node. What the new Node has already stays as it is. Pods of one
// node cannot be moved to another; those without a controller are refused unless Force is set.
// It may be repeated.
func Replace(ctx context.Context, cfg ReplaceConfig) (Replaced, error) {
	var done Replaced
	if cfg.Client == nil || cfg.Old == "" || cfg.New == "" || cfg.RevokeIdentity == nil {
		return done, errors.New("nodelifecycle: ReplaceConfig.Client, Old, New and RevokeIdentity are required")
	}
	if cfg.Old == cfg.New {
		return done, fmt.Errorf("nodelifecycle: node %s cannot replace itself: give the machine that takes its place a token for the name", cfg.Old)
	}
	if _, err := edgeNode(ctx, cfg.Client, cfg.New); err != nil {
		return done, err
	}
	old, err := edgeNode(ctx, cfg.Client, cfg.Old)
	if err != nil && !errors.Is(err, ErrNoNode) {
		return done, err
	}
	if old != nil {
		pods, err := drainable(ctx, cfg.Client, cfg.Old)
		if err != nil {
			return done, err
		}
		if !cfg.Force {
			if err := refuseBare(cfg.Old, pods); err != nil {
				return done, err
			}
		}
		if done.Volumes, err = localVolumes(ctx, cfg.Client, old); err != nil {
			return done, err
		}
		// First of all: what is on the old Node is lost with it.
		if err := done.carryOver(ctx, cfg, old); err != nil {
			return done, err
		}
	}
	done.Removed, err = Remove(ctx, RemoveConfig{Client: cfg.Client, Node: cfg.Old, Force: true, RevokeIdentity: func(ctx context.Context) error {
		err := cfg.RevokeIdentity(ctx)
		if err == nil {
			done.Devices, err = bindDevices(ctx, cfg.Dynamic, cfg.Old, cfg.New)
		}
		return err
	}})
	return done, err
}

// carryOver adds to the new Node what others have set on the old one.
func (done *Replaced) carryOver(ctx context.Context, cfg ReplaceConfig, old *corev1.Node) error {
	for {
		node, err := cfg.Client.CoreV1().Nodes().Get(ctx, cfg.New, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("nodelifecycle: %w", err)
		}
		labels, annotations := missing(old.Labels, node.Labels, isOperatorsLabel), missing(old.Annotations, node.Annotations, isOperatorsAnnotation)
		taints := missingTaints(old.Spec.Taints, node.Spec.Taints)
		done.Labels, done.Annotations, done.Taints = slices.Sorted(maps.Keys(labels)), slices.Sorted(maps.Keys(annotations)), nil
		for _, t := range taints {
			done.Taints = append(done.Taints, t.Key)
		}
		if len(labels)+len(annotations)+len(taints) == 0 {
			return nil
		}
		body := map[string]any{"metadata": map[string]any{"resourceVersion": node.ResourceVersion, "labels": labels, "annotations": annotations}}
		if len(taints) > 0 { // the list is replaced as a whole
			body["spec"] = map[string]any{"taints": append(slices.Clone(node.Spec.Taints), taints...)}
		}
		patch, err := json.Marshal(body)
		if err != nil {
			return err
		}
		_, err = cfg.Client.CoreV1().Nodes().Patch(ctx, cfg.New, types.MergePatchType, patch, metav1.PatchOptions{})
		if apierrors.IsConflict(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("nodelifecycle: carry over to node %s: %w", cfg.New, err)
		}
		return nil
	}
}

// missing returns what old has, others have set, and fresh has not.
func missing(old, fresh map[string]string, others func(key string) bool) map[string]string {
	out := make(map[string]string)
	for key, value := range old {
		if _, has := fresh[key]; !has && others(key) {
			out[key] = value
		}
	}
	return out
}

func missingTaints(old, fresh []corev1.Taint) []corev1.Taint {
	var out []corev1.Taint
	for _, t := range old {
		if isOperatorsTaint(t) && !slices.ContainsFunc(fresh, func(f corev1.Taint) bool { return f.MatchTaint(&t) }) {
			out = append(out, t)
		}
	}
	return out
}

// recordDomain is the domain of labels that nodes may not write.
const recordDomain = "edgekit.node-restriction.kubernetes.io"

// isOperatorsLabel reports whether a label of a Node says what an operator wants, and not what
// the machine is or which cloudcore serves it.
func isOperatorsLabel(key string) bool {
	domain, name, ok := strings.Cut(key, "/")
	switch {
	case !ok:
		return true // a key without a domain is somebody's own
	case domain == recordDomain:
		return name != "kubelet" // controller/kubeletproxy.RecordLabel: its port at cloudcore
	case domain == "node-role.kubernetes.io", domain == "topology.kubernetes.io", within(domain, "node-restriction.kubernetes.io"):
		return true
	}
	return !within(domain, "kubernetes.io") && !within(domain, "k8s.io")
}

// isOperatorsAnnotation is the same for annotations; those of edgekit are the node's own.
func isOperatorsAnnotation(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	return !ok || !within(domain, "kubernetes.io") && !within(domain, "k8s.io") && !within(domain, "edgekit.io")
}

// isOperatorsTaint reports whether a taint was set by an operator, and not by Kubernetes or
// cloudcore because of the node's state.
func isOperatorsTaint(t corev1.Taint) bool {
	domain, _, _ := strings.Cut(t.Key, "/")
	return t.Key != DisconnectedTaint && domain != "node.kubernetes.io" && domain != "node.cloudprovider.kubernetes.io"
}

func within(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}
