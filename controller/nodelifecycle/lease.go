package nodelifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
)

// verdict is what a cloudcore must do about a Lease.
type verdict uint8

const (
	leaseOther  verdict = iota // another cloudcore looks after the node, or nobody may
	leaseRenew                 // renew it
	leaseExpire                // stop renewing and write the condition: this cloudcore held the node, whose autonomy has ended
)

// judge decides from the node's record whether the cloudcore id renews the Lease. lease and
// record are nil if they do not exist; absent is since when this cloudcore finds no Lease.
func judge(lease, record *coordinationv1.Lease, id string, session Session, keep bool, absent, now time.Time) verdict {
	holder := holderOf(record)
	if !session.Connected && !keep {
		if lease != nil && holder == id {
			return leaseExpire
		}
		return leaseOther
	}
	if holder == id || lease == nil && session.Connected {
		return leaseRenew
	}
	if !session.Connected {
		if isStale(lease, absent, now) {
			return leaseRenew
		}
		return leaseOther
	}
	// Two sessions of one node at two cloudcores: the older one is dead and
	// not yet noticed.
	if isStale(lease, absent, now) || record == nil {
		return leaseRenew
	}
	theirs, err := time.Parse(time.RFC3339Nano, record.Annotations[SinceAnnotation])
	if err != nil || !session.Started.Before(theirs) {
		return leaseRenew
	}
	return leaseOther
}

// isStale reports whether nobody renews the Lease. A Lease that is gone may have been deleted
// under a cloudcore that has the node's session: that one gets the time to write it again.
func isStale(lease *coordinationv1.Lease, absent, now time.Time) bool {
	if lease == nil {
		return now.Sub(absent) >= StaleAfter
	}
	return lease.Spec.RenewTime == nil || now.Sub(lease.Spec.RenewTime.Time) >= StaleAfter
}

// renew renews the Lease if this cloudcore is the one to do it, and returns what
// else this cloudcore must do about the node.
func (k *Controller) renew(ctx context.Context, n *node, obj *corev1.Node, session Session) (verdict, error) {
	now := time.Now()
	keep := isKept(obj, session, now)
	if keep && !session.Connected && n.lease == nil && k.isHeldElsewhere(n, session, now) {
		return leaseOther, nil
	}
	fresh := false
	var lost error
	for range 3 { // after a lost race, try again with what the winner wrote
		if n.lease == nil {
			// A node that somebody else looks after costs two reads now and then (see holder),
			// which the API server answers from its cache.
			generation := k.cfg.Members.Generation()
			got, err := k.leases().Get(impersonate.With(ctx, n.name), n.name, metav1.GetOptions{ResourceVersion: readVersion(fresh)})
			switch {
			case apierrors.IsNotFound(err):
				if n.absent.IsZero() {
					n.absent = now
				}
			case err != nil:
				return leaseOther, fmt.Errorf("nodelifecycle: read lease: %w", err)
			default:
				n.lease, n.absent = got, time.Time{}
			}
			if keep && !session.Connected && n.lease != nil && k.isOthers(n, now) {
				again := isStale(n.lease, n.absent, now) || n.isRenewedHere() // look at it again soon
				if n.lease = nil; !again {
					n.renewedFor = nil
					k.rememberHolder(ctx, n, session, holder{at: now, generation: generation})
				}
				return leaseOther, nil
			}
			n.recordReadAt = time.Time{}
		}
		if now.Sub(n.recordReadAt) >= recordEvery {
			var err error
			if n.record, err = k.readRecord(ctx, n.name, readVersion(fresh)); err != nil {
				n.lease = nil
				return leaseOther, fmt.Errorf("nodelifecycle: read who holds the node: %w", err)
			}
			n.recordReadAt = now
		}
		if keep && !session.Connected && n.lease != nil && holderOf(n.record) != k.cfg.ID && k.cfg.Members.Alive(holderOf(n.record)) {
			return leaseOther, k.renewFor(ctx, n, obj, now)
		}
		if k.superseded(n.name, n.record, session) {
			n.lease = nil
			return leaseOther, nil
		}
		if v := judge(n.lease, n.record, k.cfg.ID, session, keep, n.absent, now); v != leaseRenew {
			n.lease = nil
			return v, nil
		}
		found := lastRenewal(n.lease, now)
		taken := holderOf(n.record) != k.cfg.ID
		written, err := k.writeLease(ctx, n, obj, session, now)
		if err == nil {
			n.lease, n.absent, n.holder = written, time.Time{}, holder{}
			if taken && !session.Connected {
				n.found = found
			}
			return leaseRenew, nil
		}
		n.lease, fresh, lost = nil, true, err
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return leaseOther, fmt.Errorf("nodelifecycle: renew lease: %w", err)
		}
	}
	return leaseOther, fmt.Errorf("nodelifecycle: renew lease: %w", lost)
}

// renewFor renews a Lease that is stale though the node's cloudcore runs: the API server is slow, or
// that cloudcore is. It stays the holder, since only it knows whether the node has a link. This cloudcore
// looks at the Lease again until its holder renews it.
func (k *Controller) renewFor(ctx context.Context, n *node, obj *corev1.Node, now time.Time) error {
	lease := k.leaseFor(n.lease, obj, now)
	lease.Annotations[HolderAnnotation] = holderOf(n.record)
	n.lease = nil
	written, err := k.leases().Update(impersonate.With(ctx, n.name), lease, metav1.UpdateOptions{})
	if err == nil {
		n.renewedFor = written.Spec.RenewTime
		return nil
	}
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("nodelifecycle: renew lease for %s: %w", holderOf(n.record), err)
}

// lastRenewal returns when a Lease was last renewed, as far as that is in the past; zero if there
// is none.
func lastRenewal(lease *coordinationv1.Lease, now time.Time) time.Time {
	if lease == nil || lease.Spec.RenewTime == nil || lease.Spec.RenewTime.After(now) {
		return time.Time{}
	}
	return lease.Spec.RenewTime.Time
}

// writeLease writes the node's record, if it must change, and then its Lease.
func (k *Controller) writeLease(ctx context.Context, n *node, obj *corev1.Node, session Session, now time.Time) (*coordinationv1.Lease, error) {
	if holderOf(n.record) != k.cfg.ID || !owned(n.record, obj) || n.record.Annotations[ClaimAnnotation] == "" && session.holdsClaim() {
		if err := k.writeRecord(ctx, n, obj, session); err != nil {
			return nil, err
		}
	}
	ctx = impersonate.With(ctx, n.name)
	if n.lease == nil {
		return k.leases().Create(ctx, k.leaseFor(nil, obj, now), metav1.CreateOptions{})
	}
	return k.leases().Update(ctx, k.leaseFor(n.lease, obj, now), metav1.UpdateOptions{})
}

// leases writes Leases of nodes, as the node of the context.
func (k *Controller) leases() coordinationclient.LeaseInterface {
	return k.cfg.NodeClient.CoordinationV1().Leases(corev1.NamespaceNodeLease)
}

func readVersion(fresh bool) string {
	if fresh {
		return ""
	}
	return "0"
}

// leaseFor returns the Lease to be written in place of old.
func (k *Controller) leaseFor(old *coordinationv1.Lease, node *corev1.Node, now time.Time) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: node.Name, Namespace: corev1.NamespaceNodeLease}}
	if old != nil {
		lease = old.DeepCopy()
	}
	lease.OwnerReferences = ownerOf(node)
	if lease.Annotations == nil {
		lease.Annotations = make(map[string]string)
	}
	lease.Annotations[HolderAnnotation] = k.cfg.ID
	if reported := reportedConditions(node); reported != "" {
		lease.Annotations[ReportedConditionsAnnotation] = reported
	}
	seconds := int32(LeaseDuration / time.Second)
	renewed := metav1.NewMicroTime(now)
	lease.Spec.HolderIdentity = &node.Name
	lease.Spec.LeaseDurationSeconds = &seconds
	lease.Spec.RenewTime = &renewed
	if lease.Spec.AcquireTime == nil {
		lease.Spec.AcquireTime = &renewed
	}
	return lease
}

// lastSeen reads from the Node since when it has no link. For a Node with a link it returns that
// it was connected until some cloudcore died; false if it was never connected. The time is on
// the taint, which the node cannot write. The node could write its condition.
func lastSeen(node *corev1.Node) (since time.Time, seen bool) {
	if at, ok := taintedAt(node); ok {
		return at, true
	}
	return time.Now(), nodeCondition(node, ConditionConnected) != nil
}

// taintedAt returns since when the Node has the taint of a node without a link.
func taintedAt(node *corev1.Node) (time.Time, bool) {
	i := slices.IndexFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == DisconnectedTaint })
	if i < 0 || node.Spec.Taints[i].TimeAdded == nil {
		return time.Time{}, false
	}
	return node.Spec.Taints[i].TimeAdded.Time, true
}
