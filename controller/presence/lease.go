package presence

import (
	"context"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/asnode"
)

// verdict is what a cloudcore is to do about a Lease.
type verdict uint8

const (
	leave verdict = iota // another cloudcore looks after the node, or nobody may
	take                 // renew it
)

// judge decides whether the cloudcore id renews the Lease; lease is nil where
// there is none.
func judge(lease *coordinationv1.Lease, id string, session Session, autonomous bool, now time.Time) verdict {
	if !session.Connected && !autonomous {
		return leave
	}
	if lease == nil || lease.Annotations[HolderAnnotation] == id {
		return take
	}
	stale := lease.Spec.RenewTime == nil || now.Sub(lease.Spec.RenewTime.Time) >= StaleAfter
	if !session.Connected {
		if stale {
			return take
		}
		return leave
	}
	// Two sessions of one node at two cloudcores: the older one is dead and
	// not yet noticed.
	theirs, err := time.Parse(time.RFC3339Nano, lease.Annotations[SinceAnnotation])
	if stale || err != nil || !session.Started.Before(theirs) {
		return take
	}
	return leave
}

// autonomous tells whether the node keeps its pods without a link. since is
// when the link went.
func autonomous(node *corev1.Node, since, now time.Time) bool {
	switch policy := node.Annotations[AutonomyAnnotation]; policy {
	case "", "unlimited":
		return true
	case "off":
		return false
	default:
		limit, err := time.ParseDuration(policy)
		// What cannot be understood must not cost a node its pods.
		return err != nil || limit < 0 || now.Sub(since) < limit
	}
}

// renew renews the Lease if that is for this cloudcore to do, and reports
// whether it is.
func (k *Keeper) renew(ctx context.Context, n *node, obj *corev1.Node, session Session) (mine bool, err error) {
	now := time.Now()
	since, before := session.Since, true
	if !session.Known {
		// A node that never had a link to any cloudcore is not ours to keep.
		since, before = lastSeen(obj)
	}
	keep := before && autonomous(obj, since, now)
	ctx = asnode.With(ctx, n.name)
	leases := k.cfg.AsNode.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	fresh := false
	for range 3 { // a lost race is tried with what the winner wrote
		if n.lease == nil {
			// A disconnected node that somebody else looks after costs a read
			// that the API server answers from its cache.
			got, err := leases.Get(ctx, n.name, metav1.GetOptions{ResourceVersion: readVersion(fresh)})
			switch {
			case apierrors.IsNotFound(err):
			case err != nil:
				return false, fmt.Errorf("presence: read lease: %w", err)
			default:
				n.lease = got
			}
		}
		if judge(n.lease, k.cfg.ID, session, keep, now) == leave {
			n.lease = nil
			return false, nil
		}
		var written *coordinationv1.Lease
		if n.lease == nil {
			written, err = leases.Create(ctx, k.leaseFor(nil, obj, session, now), metav1.CreateOptions{})
		} else {
			written, err = leases.Update(ctx, k.leaseFor(n.lease, obj, session, now), metav1.UpdateOptions{})
		}
		if err == nil {
			n.lease = written
			return true, nil
		}
		n.lease, fresh = nil, true
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return false, fmt.Errorf("presence: renew lease: %w", err)
		}
	}
	return false, fmt.Errorf("presence: renew lease: %w", err)
}

func readVersion(fresh bool) string {
	if fresh {
		return ""
	}
	return "0"
}

// leaseFor gives the Lease to be written in place of old.
func (k *Keeper) leaseFor(old *coordinationv1.Lease, node *corev1.Node, session Session, now time.Time) *coordinationv1.Lease {
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: node.Name, Namespace: corev1.NamespaceNodeLease}}
	if old != nil {
		lease = old.DeepCopy()
	}
	lease.OwnerReferences = []metav1.OwnerReference{{
		APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID,
	}}
	if lease.Annotations == nil {
		lease.Annotations = make(map[string]string)
	}
	lease.Annotations[HolderAnnotation] = k.cfg.ID
	if session.Known {
		lease.Annotations[SinceAnnotation] = session.Started.UTC().Format(time.RFC3339Nano)
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

// lastSeen reads from the Node since when it has no link, or, with one, that
// it was there until some cloudcore died; false if it never had one.
func lastSeen(node *corev1.Node) (since time.Time, seen bool) {
	c := connectedCondition(node)
	if c == nil {
		return time.Time{}, false
	}
	if c.Status == corev1.ConditionFalse {
		return c.LastTransitionTime.Time, true
	}
	return time.Now(), true
}
