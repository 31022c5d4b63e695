package nodelifecycle

import (
	"context"
	"time"
)

// holder is another cloudcore that looks after a node, as far as this one knows. While that cloudcore runs
// (package members), the node's Lease need not be read: it is renewed. A cloudcore that goes makes all of this
// doubtful, since a node that was at one cloudcore may have gone to it in the meantime: then
// everything is read again.
type holder struct {
	id         string
	at         time.Time // when it was read
	generation uint64    // of the members, before it was read
	epoch      uint64    // of the newest session here, and of the newest claim, then
	claimed    uint64
}

// recheckEvery is how often the Lease of a node that another cloudcore looks after is read all the
// same.
const recheckEvery = 5 * time.Minute

// leaveTo is how much older than StaleAfter a Lease becomes until also those cloudcores take the node
// over that share no work with it: until then it is left to one of them.
const leaveTo = StaleAfter

// isHeldElsewhere reports whether it is known, without a read, that another cloudcore looks after
// the node.
func (k *Controller) isHeldElsewhere(n *node, session Session, now time.Time) bool {
	h, m := n.holder, k.cfg.Members
	return h.id != "" && h.id != k.cfg.ID && now.Sub(h.at) < recheckEvery && h.epoch == session.Epoch && h.claimed == session.Claimed.Epoch &&
		h.generation == m.Generation() && m.Alive(h.id)
}

// isOthers reports whether another cloudcore renews the node's Lease, or is to take the node over.
// A cloudcore that has just started takes none over until it has asked who runs.
func (k *Controller) isOthers(n *node, now time.Time) bool {
	if !isStale(n.lease, n.absent, now) || !k.cfg.Members.Asked() { // its holder may run, and be slow
		return true
	}
	renewed := n.lease.Spec.RenewTime
	return renewed != nil && now.Sub(renewed.Time) < StaleAfter+leaveTo && !k.cfg.Members.Mine(n.name) && !n.isRenewedHere()
}

// isRenewedHere reports whether this cloudcore has made the last renewal of the Lease in the place of
// its holder, which has not renewed it since.
func (n *node) isRenewedHere() bool {
	return n.renewedFor != nil && n.renewedFor.Equal(n.lease.Spec.RenewTime)
}

// rememberHolder reads which other cloudcore looks after the node. An error only costs more reads
// later. Where nothing is known of other cloudcores it reads nothing.
func (k *Controller) rememberHolder(ctx context.Context, n *node, session Session, h holder) {
	if n.holder = (holder{}); !k.cfg.Members.Known() {
		return
	}
	record, err := k.readRecord(ctx, n.name, readVersion(false))
	if err != nil {
		return
	}
	h.id, h.epoch, h.claimed = holderOf(record), session.Epoch, session.Claimed.Epoch
	n.holder = h
}
