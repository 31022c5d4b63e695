package nodelifecycle

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
)

// processNode does what is due for one node and sets the next time.
func (k *Controller) processNode(ctx context.Context, n *node) {
	k.mu.Lock()
	session, first := n.session, n.first
	n.first = false
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, RenewEvery)
	defer cancel()
	left, err := k.renewNode(ctx, n, session)
	next := RenewEvery
	switch {
	case err != nil:
		next = retryAfter
	case first:
		next = spread(n.name) // from here on at a time of its own
	}
	if wait := time.Until(n.notReadyAt); wait > 0 {
		next = min(next, wait)
	}
	if wait := time.Until(session.Since.Add(ReportGrace)); left && session.Connected && wait > 0 {
		next = min(next, wait)
	}
	k.mu.Lock()
	n.left = left
	log := err != nil && !n.failed && ctx.Err() == nil
	n.failed = err != nil
	n.busy = false
	if !n.again {
		n.due = time.Now().Add(next)
	}
	if k.nodes[n.name] == n { // not if its Node was deleted meanwhile
		k.queue.set(n, n.due)
	}
	k.mu.Unlock()
	if log {
		k.cfg.Logger.Error("node's lease or condition could not be written", "node", n.name, "err", err)
	}
}

// forget has a session that ended here count as unknown: the node was at another cloudcore
// since, from which this one has taken it over.
func (k *Controller) forget(n *node, session Session) Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := &n.session; s.Epoch == session.Epoch && !s.Connected {
		s.Known = false
	}
	session.Known = false
	return session
}

// renewNode renews the node's Lease if this cloudcore holds the node, and then updates the
// Node's condition and taint to the state of the link. It reports whether Config.Renewed has left
// pods for later.
func (k *Controller) renewNode(ctx context.Context, n *node, session Session) (left bool, _ error) {
	item, ok := k.cfg.Nodes.Load(cache.Name{Name: n.name})
	if !ok {
		return false, nil // not registered yet: nodeChanged comes back to it
	}
	verdict, err := k.renew(ctx, n, item.Object, session)
	if err != nil {
		return false, err
	}
	if verdict == leaseOther {
		n.notReadyAt = time.Time{}
		k.unmark(n.name)
		return false, nil
	}
	now := time.Now()
	if session.Connected {
		n.found = time.Time{}
	}
	if session.Known && !session.Connected && session.Since.Before(n.found) {
		session = k.forget(n, session)
	}
	if session.Known && !session.Connected && now.Sub(session.Since) < Grace {
		return false, nil
	}
	conditions := []corev1.NodeCondition{wantCondition(item.Object, session, now)}
	if verdict == leaseRenew {
		conditions = append(conditions, restoredConditions(item.Object, n.lease.Annotations[ReportedConditionsAnnotation], now)...)
	}
	if err := k.writeConditions(ctx, item.Object, conditions); err != nil {
		return false, fmt.Errorf("nodelifecycle: %w", err)
	}
	if session.Connected {
		k.reconnected(ctx, item.Object, now)
	}
	k.markIfDue(n, item.Object, session, now)
	if verdict == leaseRenew && k.cfg.Renewed != nil && k.mayRestore(n, item.Object, session, now) {
		return k.cfg.Renewed(ctx, n.name, restoreSince(session, now))
	}
	return false, nil
}
