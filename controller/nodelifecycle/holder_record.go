package nodelifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
)

// A record says which cloudcore holds a node. It is a Lease in cloudcore's namespace. The Lease
// that Kubernetes uses, in kube-node-lease, can be written by the node. It has HolderAnnotation
// too, for people; only its time of renewal decides anything.

// recordEvery is how often the holder looks whether its record is still there and
// its own. Another holder is noticed sooner: it writes the Lease.
const recordEvery = time.Minute

// recordPrefix begins the names of records.
const recordPrefix = "edgekit-node-"

// RecordName is the name of a node's record, the Lease in cloudcore's namespace that says which
// cloudcore holds the node. A node's name that would make it too long is replaced by its hash.
func RecordName(node string) string {
	if len(recordPrefix)+len(node) <= 253 {
		return recordPrefix + node
	}
	sum := sha256.Sum256([]byte(node))
	return recordPrefix + hex.EncodeToString(sum[:])
}

// records returns the client for records.
func (k *Controller) records() coordinationclient.LeaseInterface {
	return k.cfg.Cloud.CoordinationV1().Leases(k.cfg.Namespace)
}

// readRecord reads a node's record; nil if there is none.
func (k *Controller) readRecord(ctx context.Context, node, version string) (*coordinationv1.Lease, error) {
	got, err := k.records().Get(ctx, RecordName(node), metav1.GetOptions{ResourceVersion: version})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return got, err
}

// holderOf returns the cloudcore that a record names as the holder.
func holderOf(record *coordinationv1.Lease) string {
	if record == nil {
		return ""
	}
	return record.Annotations[HolderAnnotation]
}

// owned reports whether the Node owns the record, so that both are deleted together.
func owned(record *coordinationv1.Lease, node *corev1.Node) bool {
	return record != nil && len(record.OwnerReferences) == 1 && record.OwnerReferences[0].UID == node.UID
}

// writeRecord makes this cloudcore the holder in the node's record.
func (k *Controller) writeRecord(ctx context.Context, n *node, obj *corev1.Node, session Session) error {
	record := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: RecordName(n.name), Namespace: k.cfg.Namespace}}
	fresh := n.record == nil
	if !fresh {
		record = n.record.DeepCopy()
	}
	k.setHolder(record)
	if session.Known {
		record.Annotations[SinceAnnotation] = session.Started.UTC().Format(time.RFC3339Nano)
	}
	if record.Annotations[ClaimAnnotation] == "" && session.holdsClaim() {
		if text, err := json.Marshal(session.Claimed); err == nil { // somebody deleted it
			record.Annotations[ClaimAnnotation] = string(text)
		}
	}
	record.OwnerReferences = ownerOf(obj)
	var err error
	if fresh {
		record, err = k.records().Create(ctx, record, metav1.CreateOptions{})
	} else {
		record, err = k.records().Update(ctx, record, metav1.UpdateOptions{})
	}
	if err == nil {
		n.record = record
	}
	return err
}

// holdsClaim reports whether the session is the one whose claim was taken here.
func (s Session) holdsClaim() bool {
	return s.Connected && s.Claimed.Epoch != 0 && s.Claimed.Epoch == s.Epoch
}

// setHolder names this cloudcore on a record.
func (k *Controller) setHolder(record *coordinationv1.Lease) {
	if record.Annotations == nil {
		record.Annotations = make(map[string]string)
	}
	record.Annotations[HolderAnnotation] = k.cfg.ID
}

func ownerOf(node *corev1.Node) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}
}
