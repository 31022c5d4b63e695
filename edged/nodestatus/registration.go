package nodestatus

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ReasonRegisteredAgain is the reason of the event on a Node that was deleted
// while its machine was part of the cluster.
const ReasonRegisteredAgain = "RegisteredAgain"

// reportRegisteredAgain says, by an event and in the log, that the Node is
// registered again, and what others had set on it that is lost.
func (n *Reporter) reportRegisteredAgain() {
	was := n.deleted
	if was == nil {
		return
	}
	n.deleted = nil
	message := "the Node was deleted while this machine was part of the cluster; it has registered again. To take it out for good: edgectl node remove " + n.cfg.NodeName
	if lost := n.lostSettings(was); lost != "" {
		message += ". What others had set on the Node is lost: " + lost
	}
	n.log.Warn("the Node was deleted in the cloud; it is registered again", "lost", n.lostSettings(was), "remedy", "to take the machine out for good: edgectl node remove "+n.cfg.NodeName)
	n.cfg.Event(corev1.EventTypeWarning, ReasonRegisteredAgain, message)
}

// lostSettings names what others than the node and Kubernetes had set on the
// deleted Node.
func (n *Reporter) lostSettings(was *corev1.Node) string {
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

// kubernetesOwn reports whether Kubernetes itself sets annotations or taints with
// the key.
func kubernetesOwn(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	return domain == "kubernetes.io" || strings.HasSuffix(domain, ".kubernetes.io")
}
