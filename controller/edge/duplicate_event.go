package edge

import (
	"context"
	"fmt"
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
	"github.com/edgekit/edgekit/hub"
)

// ReasonDuplicateIdentity is the reason of the event on a Node whose identity
// two machines have.
const ReasonDuplicateIdentity = "DuplicateNodeIdentity"

// duplicateEvery is the least time between two events about the same two programs.
// Kubernetes deletes events after an hour (--event-ttl).
const duplicateEvery = time.Hour

// Duplicate reports, in an event on the Node and in the log, that two programs have
// the node's identity. It is the Duplicate of a hub.Node.
func (c *Controller) Duplicate(ctx context.Context, d hub.Duplicate) {
	message := fmt.Sprintf("two programs have the identity of this node: instance %s%s has the link, instance %s%s was refused and looks after its pods without it. "+
		"Was a disk cloned or a backup restored? Give one of the two machines an identity of its own, there: edgecore join --replace --node NAME --token TOKEN "+
		"(edgectl token create). The refused one returns by itself when the other has been gone for some minutes",
		d.Holder.Instance, atAddress(d.Holder.Address), d.Instance, atAddress(d.Address))
	c.cfg.Logger.Warn("two programs have one node's identity", "node", d.Node, "holder", d.Holder.Instance, "holder address", d.Holder.Address,
		"refused", d.Instance, "refused address", d.Address)
	now := metav1.Now()
	hash := fnv.New64a()
	fmt.Fprintf(hash, "%s %s %d", d.Holder.Instance, d.Instance, now.Unix()/int64(duplicateEvery/time.Second))
	event := &corev1.Event{
		// Events about nodes are in the namespace default, as kubelet's are. The
		// name depends on the content, so that several cloudcores create one event.
		ObjectMeta:     metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: fmt.Sprintf("%.200s.%x", d.Node, hash.Sum64())},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: d.Node, UID: types.UID(d.Node)},
		Type:           corev1.EventTypeWarning, Reason: ReasonDuplicateIdentity, Message: message,
		Source:         corev1.EventSource{Component: "cloudcore"},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	_, err := c.cfg.NodeClient.CoreV1().Events(event.Namespace).Create(impersonate.With(ctx, d.Node), event, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		c.cfg.Logger.Warn("an event could not be written", "node", d.Node, "reason", event.Reason, "err", err)
	}
}

func atAddress(address string) string {
	if address == "" {
		return ""
	}
	return " at " + address
}
