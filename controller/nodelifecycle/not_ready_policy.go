package nodelifecycle

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const (
	// NotReadyAfterLabel on a Node is Config.NotReadyAfter for this one node: a duration
	// ("5m"), or NotReadyNever. NodeRestriction keeps nodes from labels of this domain.
	NotReadyAfterLabel = "edgekit.node-restriction.kubernetes.io/disconnected-pods-not-ready-after"
	// NotReadyNever is the value of NotReadyAfterLabel for a node whose pods keep their
	// condition Ready however long its link is down.
	NotReadyNever = "never"
	// DefaultNotReadyAfter is what Config.NotReadyAfter is by default.
	DefaultNotReadyAfter = time.Minute
	// DefaultReconnectGrace is what Config.ReconnectGrace is by default. Edge nodes try to
	// connect at least every 30 s, and notice after two keepalives that a link is dead.
	DefaultReconnectGrace = time.Minute
	// ReportGrace is how long a new session has to bring the node's own reports, before
	// Config.Renewed restores pods that were set to not ready before the session.
	ReportGrace = 30 * time.Second
)

// Reasons of events on a Node about its pods' readiness.
const (
	// ReasonPodsNotReady: the pods of a node without a link were set to not ready.
	ReasonPodsNotReady = "NodeDisconnected"
	// ReasonNodeReconnected: the node has a link again, and its pods have the readiness that
	// the node reports.
	ReasonNodeReconnected = "NodeReconnected"
)

// notReadyPolicy is how long a node is without a link before its pods are not ready.
type notReadyPolicy struct {
	never  bool
	after  time.Duration // unless never
	unread string        // the label, if it cannot be understood
}

// notReadyPolicyOf reads a node's policy. after is that of all nodes, which also counts where the
// label is invalid; negative means never.
func notReadyPolicyOf(node *corev1.Node, after time.Duration) notReadyPolicy {
	text := node.Labels[NotReadyAfterLabel]
	all := notReadyPolicy{never: after < 0, after: after}
	switch text {
	case "":
		return all
	case NotReadyNever:
		return notReadyPolicy{never: true}
	}
	own, err := time.ParseDuration(text)
	if err != nil || own < 0 {
		all.unread = text
		return all
	}
	return notReadyPolicy{after: own}
}

// hint explains a label that cannot be understood.
func (p notReadyPolicy) hint() string {
	if p.unread == "" {
		return ""
	}
	return fmt.Sprintf("; %s=%q is neither a duration nor %q: the default of all nodes is used", NotReadyAfterLabel, p.unread, NotReadyNever)
}

// lostAt returns since when a node has no link. It reports false for one that has a link, that
// never had one, or of which this cloudcore cannot know.
//
// A cloudcore that had no session of the node goes by the taint. If the node had a link until
// another cloudcore ended, found is the time of that one's last renewal of the Lease.
func lostAt(node *corev1.Node, session Session, found time.Time) (time.Time, bool) {
	if session.Known {
		return session.Since, !session.Connected
	}
	at, tainted := taintedAt(node)
	switch {
	case found.IsZero():
		return at, tainted
	case tainted && at.Before(found):
		return at, true
	}
	return found, true
}
