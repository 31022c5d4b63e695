package presence

import (
	"context"
	"encoding/json"
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
	let                  // let it run out, and say so: the node was this cloudcore's and is kept no longer
)

// judge decides whether the cloudcore id renews the Lease; lease is nil where
// there is none.
func judge(lease *coordinationv1.Lease, id string, session Session, keep bool, now time.Time) verdict {
	if !session.Connected && !keep {
		if lease != nil && lease.Annotations[HolderAnnotation] == id {
			return let
		}
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

// renew renews the Lease if that is for this cloudcore to do, and tells what
// it is to do about the node.
func (k *Keeper) renew(ctx context.Context, n *node, obj *corev1.Node, session Session) (verdict, error) {
	now := time.Now()
	keep := keeps(obj, session, now)
	ctx = asnode.With(ctx, n.name)
	leases := k.cfg.AsNode.CoordinationV1().Leases(corev1.NamespaceNodeLease)
	fresh := false
	var lost error
	for range 3 { // a lost race is tried with what the winner wrote
		if n.lease == nil {
			// A disconnected node that somebody else looks after costs a read
			// that the API server answers from its cache.
			got, err := leases.Get(ctx, n.name, metav1.GetOptions{ResourceVersion: readVersion(fresh)})
			switch {
			case apierrors.IsNotFound(err):
			case err != nil:
				return leave, fmt.Errorf("presence: read lease: %w", err)
			default:
				n.lease = got
			}
		}
		if k.superseded(n.lease, session) {
			n.lease = nil
			return leave, nil
		}
		if v := judge(n.lease, k.cfg.ID, session, keep, now); v != take {
			n.lease = nil
			return v, nil
		}
		var written *coordinationv1.Lease
		var err error
		if n.lease == nil {
			written, err = leases.Create(ctx, k.leaseFor(nil, obj, session, now), metav1.CreateOptions{})
		} else {
			written, err = leases.Update(ctx, k.leaseFor(n.lease, obj, session, now), metav1.UpdateOptions{})
		}
		if err == nil {
			n.lease = written
			return take, nil
		}
		n.lease, fresh, lost = nil, true, err
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return leave, fmt.Errorf("presence: renew lease: %w", err)
		}
	}
	return leave, fmt.Errorf("presence: renew lease: %w", lost)
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
	if seat := session.Seat; lease.Annotations[SeatAnnotation] == "" && session.Connected && seat.Epoch == session.Epoch {
		if text, err := json.Marshal(seat); err == nil { // somebody deleted it
			lease.Annotations[SeatAnnotation] = string(text)
		}
	}
	if said := remembered(node); said != "" {
		lease.Annotations[SaidAnnotation] = said
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
	c := nodeCondition(node, ConditionConnected)
	if c == nil {
		return time.Time{}, false
	}
	if c.Status == corev1.ConditionFalse {
		return c.LastTransitionTime.Time, true
	}
	return time.Now(), true
}
