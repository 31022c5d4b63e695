package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/static"
)

// checkNode checks whether the pod wants this kind of node.
//
// The scheduler decides by the Node as the API server has it, with labels and
// taints that people set there. This node sees those a moment later, or not at all
// while the link is down. So the choice of a scheduler stands, except for the
// machine's own operating system and architecture. Only pods that name their node
// are checked against the Node that the cloud last sent. Where it never sent one,
// only the labels count that this agent sets itself.
func (f Request) checkNode() *plan.Rejection {
	for _, label := range []string{corev1.LabelOSStable, corev1.LabelArchStable} {
		if want, ok := f.Pod.Spec.NodeSelector[label]; ok && want != f.Labels[label] {
			return reject(rejectedAffinity, fmt.Sprintf("the node has %s=%s, the pod wants %s", label, f.Labels[label], want))
		}
	}
	if PlacedByScheduler(f.Pod) {
		return nil
	}
	if f.Node == nil {
		for _, key := range slices.Sorted(maps.Keys(f.Pod.Spec.NodeSelector)) {
			if have, own := f.Labels[key]; own && have != f.Pod.Spec.NodeSelector[key] {
				return reject(rejectedAffinity, fmt.Sprintf("the node has %s=%s, the pod wants %s", key, have, f.Pod.Spec.NodeSelector[key]))
			}
		}
		return nil
	}
	node := &corev1.Node{ObjectMeta: *f.Node.ObjectMeta.DeepCopy(), Spec: f.Node.Spec}
	node.Labels = maps.Clone(f.Labels)
	maps.Copy(node.Labels, f.Node.Labels) // what people changed in the cloud comes first
	if match, err := nodeaffinity.GetRequiredNodeAffinity(f.Pod).Match(node); err != nil || !match {
		message := "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
		if missing := missingLabels(f.Pod, node.Labels); missing != "" {
			message += ": the node lacks " + missing
		}
		return reject(rejectedAffinity, message)
	}
	if static.Is(f.Pod) {
		return nil // it runs whatever the taints, as the kubelet's does
	}
	noExecute := func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }
	if taint, found := schedulinghelper.FindMatchingUntoleratedTaint(logr.Discard(), node.Spec.Taints, f.Pod.Spec.Tolerations, noExecute, true); found {
		return reject(rejectedTaint, fmt.Sprintf("Predicate TaintToleration failed: node(s) had untolerated taint(s): %s", taint.ToString()))
	}
	return nil
}

// tolerates reports whether the pod tolerates a taint.
func tolerates(pod *corev1.Pod, taint corev1.Taint) bool {
	return schedulinghelper.TolerationsTolerateTaint(logr.Discard(), pod.Spec.Tolerations, &taint, true)
}

// missingLabels lists the entries of the pod's node selector that a node with
// these labels does not have.
func missingLabels(pod *corev1.Pod, labels map[string]string) string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(pod.Spec.NodeSelector)) {
		if want := pod.Spec.NodeSelector[key]; labels[key] != want {
			out = append(out, key+"="+want)
		}
	}
	return strings.Join(out, ", ")
}
