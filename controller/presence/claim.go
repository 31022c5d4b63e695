package presence

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/live"
	"github.com/edgekit/edgekit/controller/mirror"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// SeatAnnotation on a node's record is the node's hub.Claim as JSON: which session of
// which program holds the node, at whatever cloudcore. So a session that is
// newer fences an older one at another cloudcore, and epochs grow over all of
// them.
const SeatAnnotation = "edgekit.io/seat"

// maxClaims is how often a claim is repeated that lost against another write.
const maxClaims = 8

// Claim is the hub.Node.Claim of a node: it keeps the Seat on the node's record.
// The cloudcore that held the node before learns of it when it next renews the
// Lease, and ends its session by Config.Superseded.
func (k *Keeper) Claim(ctx context.Context, node string, decide func(held hub.Claim) (hub.Claim, error)) error {
	leases, name := k.records(), recordName(node)
	for range maxClaims {
		lease, err := leases.Get(ctx, name, metav1.GetOptions{})
		fresh := apierrors.IsNotFound(err)
		if err != nil && !fresh {
			return fmt.Errorf("presence: claim: %w", mirror.FromAPI(err))
		}
		if fresh {
			lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: k.cfg.Namespace}}
		}
		held := k.seatOf(lease)
		var connected bool
		if held.EndedAt, connected = k.leftAt(node); connected {
			held.Epoch = max(held.Epoch, 1) // also when somebody has deleted the record: it is not free
		}
		next, err := decide(held)
		if err != nil {
			return err
		}
		text, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("presence: claim: %w", err)
		}
		k.hold(lease)
		lease.Annotations[SeatAnnotation] = string(text)
		lease.Annotations[SinceAnnotation] = time.Now().UTC().Format(time.RFC3339Nano)
		if fresh {
			_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		} else {
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if err == nil {
			k.claimed(node, next)
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("presence: claim: %w", mirror.FromAPI(err))
		}
	}
	return &hub.Error{Code: hub.CodeUnavailable, Text: "the node's lease changes too often to be claimed; try again"}
}

// claimed remembers a seat, so that it comes back when somebody removes it.
func (k *Keeper) claimed(name string, seat hub.Claim) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nodeLocked(name, time.Now()).session.Seat = seat
}

// leftAt tells what the Node says of its link: whether it stands, or else since
// when it does not, in microseconds since 1970; 0 where the Node is not known.
// The cloudcore that has or had the session writes that, on the taint, which the
// node cannot write. The times on a Node are
// whole seconds: the end of the second counts, so that it is not before a session
// that began in the same one.
func (k *Keeper) leftAt(name string) (at uint64, connected bool) {
	item, ok := k.cfg.Nodes.Load(live.Name{Name: name})
	if !ok {
		return 0, false
	}
	left, away := taintedAt(item.Object)
	if !away {
		if nodeCondition(item.Object, ConditionConnected) != nil {
			return 0, true
		}
		left = item.Object.CreationTimestamp.Time // no session was seen yet
	}
	return uint64(max(0, left.Truncate(time.Second).Add(time.Second).UnixMicro())), false
}

// seatOf reads who holds the node. What cannot be read is nobody: the node must
// not be locked out by it.
func (k *Keeper) seatOf(lease *coordinationv1.Lease) hub.Claim {
	var seat hub.Claim
	if text := lease.Annotations[SeatAnnotation]; text != "" {
		budget := jsonlimit.NewBudget(len(text))
		err := budget.Take("the annotation", len(text)) // its copy as bytes
		if err == nil {
			err = budget.Unmarshal([]byte(text), &seat)
		}
		if err != nil {
			k.cfg.Logger.Warn("seat of a node cannot be read", "node", lease.Name, "error", err)
			return hub.Claim{}
		}
	}
	return seat
}

// superseded reports whether a newer session of the node stands elsewhere, by the
// node's record, and then ends the one here.
func (k *Keeper) superseded(name string, record *coordinationv1.Lease, session Session) bool {
	if record == nil || !session.Connected {
		return false
	}
	seat := k.seatOf(record)
	if seat.Epoch <= session.Epoch {
		return false
	}
	if k.cfg.Superseded != nil {
		k.cfg.Superseded(name, seat)
	}
	return true
}
