package mqtt

import (
	"cmp"
	"context"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

const (
	claimEvery = 10 * time.Second // between two claims
	// claimLost is after how long without an answer a mapper stops to drive devices for which
	// another one waits. The edge gives them to that one 45 s after the last claim.
	claimLost = 30 * time.Second
	// claimPatience is how long a mapper waits for the first answer after the edge has sent the list
	// of devices: an edgecore of an earlier version answers no claims.
	claimPatience = 10 * time.Second
	releaseTime   = time.Second // for the message that a claim ends
)

// claimState is whether the mapper drives the devices.
type claimState int

const (
	undecided claimState = iota // no answer yet: nothing is driven
	drives
	waits // another mapper drives them
)

// claim is what a Link knows of who drives the devices of its protocol. One goroutine owns it.
type claim struct {
	topic, result  string // of claims and answers; empty if the Link has no protocol, and claims nothing
	name, instance string
	state          claimState

	holder, holderName string // as last answered
	contested          bool   // another mapper waits
	alone              bool   // the edge answers no claims
	answered           time.Time
	listed             time.Time // when the first list of devices came since the last answer; zero if none
	open               bool      // nothing has come since the last claim, of whatever topic
	silence            silence   // of claims: a mapper that waits makes no calls
}

func (l *Link) newClaim() *claim {
	if l.cfg.Protocol == "" {
		return &claim{state: drives}
	}
	host, _ := os.Hostname() // a mapper without any name is a mapper
	return &claim{
		topic: l.membership(topics.MembershipClaim), result: l.membership(topics.Result(topics.MembershipClaim)),
		name: cmp.Or(l.cfg.Name, host, "mapper"), instance: uuid.NewString(),
	}
}

// answer takes what the edge says.
func (c *claim) answer(now time.Time, m topics.ClaimResultMessage) {
	c.answered, c.listed, c.alone = now, time.Time{}, false
	c.holder, c.holderName, c.contested = m.Holder, m.HolderName, len(m.Waiting) > 0
	switch c.holder {
	case "": // another mapper has released what it did not hold, at an edgecore that has just started
	case c.instance:
		c.state = drives
	default:
		c.state = waits
	}
}

// noteList notes that the edge has sent a list of devices: it is there, and answers.
func (c *claim) noteList(now time.Time) {
	if c.listed.IsZero() {
		c.listed = now
	}
}

// heard notes that edgecore has sent something.
func (c *claim) heard() { c.open, c.silence = false, silence{} }

// check looks at what is overdue. It reports whether the Bus must connect again, as nothing comes.
func (c *claim) check(now time.Time) (again bool) {
	patience := claimLost
	if c.state == undecided {
		patience = claimPatience
	}
	switch {
	case c.topic == "":
	case c.state == drives && c.contested && !c.alone && now.Sub(c.answered) >= claimLost:
		c.state = waits
	case !c.listed.IsZero() && now.Sub(c.listed) >= patience:
		c.state, c.alone = drives, true
	}
	return c.open && !c.alone && c.silence.miss(now)
}

// renew claims the devices.
func (l *Link) renew(ctx context.Context, c *claim) {
	l.sendClaim(ctx, c, topics.ClaimMessage{Holder: c.holder, HolderName: c.holderName})
}

// release ends the claim, so that a mapper that waits need not wait until it runs out.
func (l *Link) release(ctx context.Context, c *claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	l.waits.Store(false)
	l.sendClaim(ctx, c, topics.ClaimMessage{Release: true})
}

func (l *Link) sendClaim(ctx context.Context, c *claim, m topics.ClaimMessage) {
	if c.topic == "" {
		return
	}
	m.Header, m.Mapper, m.Instance, c.open = newHeader(), c.name, c.instance, true
	if err := l.publish(ctx, c.topic, m.EventID, m); err != nil && ctx.Err() == nil {
		l.cfg.Logger.Debug("the devices cannot be claimed, trying on", "err", err)
	}
}

// applyClaim takes an answer to a claim, this mapper's or another's.
func (l *Link) applyClaim(ctx context.Context, c *claim, m bus.Message) {
	result, refused, err := decodeClaimResult(m.Payload)
	switch {
	case err != nil:
		l.cfg.Logger.Warn("message is ignored", "topic", m.Topic, "err", err)
	case refused.Code != 0:
		l.cfg.Logger.Warn("the claim of a mapper is refused", "topic", m.Topic, "code", refused.Code, "reason", refused.Reason)
	default:
		if c.answer(time.Now(), result); result.Holder == "" {
			l.renew(ctx, c)
		}
	}
}

// decodeClaimResult reads an answer to a claim.
func decodeClaimResult(payload []byte) (result topics.ClaimResultMessage, refused topics.ErrorMessage, err error) {
	var m struct {
		topics.ClaimResultMessage
		Code   int    `json:"code"`
		Reason string `json:"reason"`
	}
	err = jsonlimit.Unmarshal(payload, &m)
	return m.ClaimResultMessage, topics.ErrorMessage{Header: m.Header, Code: m.Code, Reason: m.Reason}, err
}

// noteState logs a change of the state, and has Propose know it.
func (l *Link) noteState(before claimState, c *claim) {
	if c.state == before {
		return
	}
	l.waits.Store(c.state == waits)
	switch log := l.cfg.Logger.With("protocol", l.cfg.Protocol, "mapper", c.name); {
	case c.state == waits:
		log.Warn("another mapper drives the devices of the protocol on this node: this one waits", "holder", c.holderName)
	case c.alone:
		log.Warn("edgecore does not answer who drives the devices of the protocol: this mapper does")
	case before == waits:
		log.Info("this mapper drives the devices of the protocol now")
	}
}
