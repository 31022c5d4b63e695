package edged

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

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

// ReasonRegisteredAgain is the reason of the event on a Node that was deleted
// while its machine was part of the cluster.
const ReasonRegisteredAgain = "RegisteredAgain"

// nodeDeleted is a channel that never sends where Objects cannot tell.
func (n *nodeReporter) nodeDeleted(ctx context.Context) <-chan *corev1.Node {
	if r, ok := n.cfg.Objects.(Registrar); ok {
		return r.NodeDeleted(ctx)
	}
	return nil
}

// sayRegisteredAgain tells people that the Node is back, and what of it is not.
func (n *nodeReporter) sayRegisteredAgain() {
	was := n.deleted
	if was == nil {
		return
	}
	n.deleted = nil
	message := "the Node was deleted while this machine was part of the cluster; it has registered again. To take it out for good: edgectl node remove " + n.cfg.NodeName
	if lost := n.lost(was); lost != "" {
		message += ". What others had set on the Node is lost: " + lost
	}
	n.log.Warn("the Node was deleted in the cloud; it is registered again", "lost", n.lost(was), "remedy", "to take the machine out for good: edgectl node remove "+n.cfg.NodeName)
	n.events.ofNode(corev1.EventTypeWarning, ReasonRegisteredAgain, message)
}

// lost names what others than the node and Kubernetes had set on a Node.
func (n *nodeReporter) lost(was *corev1.Node) string {
	var out []string
	own := n.last
	for _, key := range slices.Sorted(maps.Keys(was.Labels)) {
		if _, has := own.Labels[key]; !has && key != roleLabel && key != kubeletLabel {
			out = append(out, "label "+key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was.Annotations)) {
		if _, has := own.Annotations[key]; !has && !kubernetesOwn(key) {
			out = append(out, "annotation "+key)
		}
	}
	for _, t := range was.Spec.Taints {
		same := func(o corev1.Taint) bool { return o.Key == t.Key && o.Effect == t.Effect }
		if !slices.ContainsFunc(own.Spec.Taints, same) && !kubernetesOwn(t.Key) && t.Key != disconnectedTaint {
			out = append(out, "taint "+t.Key)
		}
	}
	if was.Spec.Unschedulable {
		out = append(out, "cordon")
	}
	return strings.Join(out, ", ")
}

// What cloudcore sets on each edge node, and sets again.
const (
	roleLabel         = "node-role.kubernetes.io/edge"
	kubeletLabel      = "edgekit.node-restriction.kubernetes.io/kubelet"
	disconnectedTaint = "edgekit.io/disconnected"
)

// kubernetesOwn reports that Kubernetes itself sets annotations or taints with
// the key.
func kubernetesOwn(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}

// ownDomain is that of the annotations by which operators and cloudcore decide
// about a node.
const ownDomain = "edgekit.io/"

// checkRegistration checks what the Node is registered with, besides its labels.
func (c Config) checkRegistration() error {
	for key := range c.Annotations {
		if errs := validation.IsQualifiedName(strings.ToLower(key)); len(errs) > 0 {
			return fmt.Errorf("edged: Config.Annotations: %s: %s", key, errs[0])
		}
		if strings.HasPrefix(key, ownDomain) {
			return fmt.Errorf("edged: Config.Annotations: %s is not the node's to set: use kubectl in the cloud", key)
		}
	}
	type place struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := make(map[place]bool)
	for _, t := range c.Taints {
		name := t.ToString()
		if errs := append(validation.IsQualifiedName(t.Key), validation.IsValidLabelValue(t.Value)...); len(errs) > 0 {
			return fmt.Errorf("edged: Config.Taints: %s: %s", name, errs[0])
		}
		switch t.Effect {
		case corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute:
		default:
			return fmt.Errorf("edged: Config.Taints: %s: the effect must be NoSchedule, PreferNoSchedule or NoExecute", name)
		}
		at := place{t.Key, t.Effect}
		if seen[at] {
			return fmt.Errorf("edged: Config.Taints: %s: there are two of this key and effect: leave one out", name)
		}
		seen[at] = true
	}
	return nil
}
