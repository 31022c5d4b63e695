package nodelifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/internal/cache"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// ClaimAnnotation on a node's record is the node's hub.Claim as JSON: which session of
// which program holds the node, at whatever cloudcore. So a session that is
// newer fences an older one at another cloudcore, and epochs grow over all of
// them.
const ClaimAnnotation = "edgekit.io/seat"

// maxClaims is how often a claim is repeated that lost against another write.
const maxClaims = 8

// Claim is the hub.Node.Claim of a node: it stores the claim on the node's record. The cloudcore
// that held the node before learns of it when it next renews the Lease, and ends its session by
// the function given to Run.
func (k *Controller) Claim(ctx context.Context, node string, decide func(held hub.Claim) (hub.Claim, error)) error {
	leases, name := k.records(), RecordName(node)
	for range maxClaims {
		lease, err := leases.Get(ctx, name, metav1.GetOptions{})
		fresh := apierrors.IsNotFound(err)
		if err != nil && !fresh {
			return fmt.Errorf("nodelifecycle: claim: %w", nodesync.FromAPI(err))
		}
		if fresh {
			lease = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: k.cfg.Namespace}}
		}
		held := k.claimOf(lease)
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
			return fmt.Errorf("nodelifecycle: claim: %w", err)
		}
		k.setHolder(lease)
		lease.Annotations[ClaimAnnotation] = string(text)
		lease.Annotations[SinceAnnotation] = time.Now().UTC().Format(time.RFC3339Nano)
		if fresh {
			_, err = leases.Create(ctx, lease, metav1.CreateOptions{})
		} else {
			_, err = leases.Update(ctx, lease, metav1.UpdateOptions{})
		}
		if err == nil {
			k.rememberClaim(node, next)
			return nil
		}
		if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("nodelifecycle: claim: %w", nodesync.FromAPI(err))
		}
	}
	return &hub.Error{Code: hub.CodeUnavailable, Text: "the node's lease changes too often to be claimed; try again"}
}

// rememberClaim keeps the claim in memory, to restore it if somebody deletes it.
func (k *Controller) rememberClaim(name string, claim hub.Claim) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.nodeLocked(name, time.Now()).session.Claimed = claim
}

// leftAt reads the state of the link from the Node: whether it is up, or else since when it is
// down, in microseconds since 1970; 0 if the Node is not known. The cloudcore that has or had
// the session writes the time on the taint, which the node cannot write. Times on a Node are
// whole seconds, so leftAt returns the end of the second: it is then not before a session that
// began in the same second.
func (k *Controller) leftAt(name string) (at uint64, connected bool) {
	item, ok := k.cfg.Nodes.Load(cache.Name{Name: name})
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

// claimOf reads the claim of the node's session. An unreadable claim counts as none, so that it
// does not lock the node out.
func (k *Controller) claimOf(lease *coordinationv1.Lease) hub.Claim {
	var claim hub.Claim
	if text := lease.Annotations[ClaimAnnotation]; text != "" {
		budget := jsonlimit.NewBudget(len(text))
		err := budget.Take("the annotation", len(text)) // its copy as bytes
		if err == nil {
			err = budget.Unmarshal([]byte(text), &claim)
		}
		if err != nil {
			k.cfg.Logger.Warn("the claim of a node cannot be read", "node", lease.Name, "err", err)
			return hub.Claim{}
		}
	}
	return claim
}

// superseded reports whether the node's record names a newer session at another
// cloudcore, and then ends the one here.
func (k *Controller) superseded(name string, record *coordinationv1.Lease, session Session) bool {
	if record == nil || !session.Connected {
		return false
	}
	claim := k.claimOf(record)
	if claim.Epoch <= session.Epoch {
		return false
	}
	if k.supersede != nil {
		k.supersede(name, claim)
	}
	return true
}
