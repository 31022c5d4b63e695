package nodelifecycle

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Values of AutonomyLabel that are not a duration.
const (
	AutonomyForever = "forever" // the default
	AutonomyOff     = "off"
)

// policy is how long a node keeps its pods without a link.
type policy struct {
	forever bool
	limit   time.Duration // unless forever
	unread  string        // the label, if it cannot be understood
}

// policyOf reads a node's autonomy. An invalid value counts as forever, so that a typing error
// costs no pods; the condition says so.
func policyOf(node *corev1.Node) policy {
	switch text := node.Labels[AutonomyLabel]; text {
	case "", AutonomyForever:
		return policy{forever: true}
	case AutonomyOff:
		return policy{}
	default:
		limit, err := time.ParseDuration(text)
		if err != nil || limit < 0 {
			return policy{forever: true, unread: text}
		}
		return policy{limit: limit}
	}
}

// describe explains the policy for a node whose link was lost at since.
func (p policy) describe(since, now time.Time) string {
	switch end := since.Add(p.limit); {
	case p.unread != "":
		return fmt.Sprintf("its pods keep running there for ever, since %s=%q is neither a duration nor %q nor %q",
			AutonomyLabel, p.unread, AutonomyForever, AutonomyOff)
	case p.forever:
		return "its pods keep running there"
	case now.Before(end):
		return "its pods keep running there and stay its own until " + end.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("it was kept for %s (%s) and is kept no longer", p.limit, AutonomyLabel)
}

// isKept reports whether a node without a link is kept.
func isKept(node *corev1.Node, session Session, now time.Time) bool {
	since, before := session.Since, true
	if !session.Known {
		// A node that was never connected to any cloudcore is not ours to keep.
		since, before = lastSeen(node)
	}
	if !before || isOutOfService(node) {
		return false
	}
	p := policyOf(node)
	return p.forever || now.Sub(since) < p.limit
}

// isOutOfService reports whether an operator has put the node out of service, with
// Abandon or with Kubernetes' taint alone
// (https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown).
func isOutOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
