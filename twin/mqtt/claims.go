package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/twin"
)

// ConditionSingleMapper is the type of the condition of a device that is False, with the reason
// MapperWaiting, while a second mapper waits for the device. A device for which none ever waited
// for long has no such condition.
const ConditionSingleMapper = "SingleMapper"

const (
	claimQueue = 64               // claims that may wait; then their subscription does
	claimEvery = 15 * time.Second // between two looks at the claims
	// claimGrace is how long two mappers of a protocol may run beside each other before the
	// devices' condition says so: the new version of a mapper may start before the old one ends.
	claimGrace = time.Minute
)

// claimRequest is a message about a claim.
type claimRequest struct {
	level   string
	id      string // its event_id
	message topics.ClaimMessage
	err     error // why it is refused
	// done gets the answer to a claim that does not come over MQTT, which is not published unless
	// it changes who drives the devices. It has room for one.
	done chan<- claimAnswer
}

// claimAnswer is who drives the devices; empty if the claimant does.
type claimAnswer struct {
	holder string
	err    error
}

// localInstance is the instance of the claims by Claim. There is one for each protocol.
const localInstance = "edgecore"

// Claim claims the devices of a protocol for mappers on this node that do not speak MQTT: those over
// DMI. It returns the name of the mapper that drives the devices, or nothing if these do. mapper is
// a name for others to see. The claim ends by Release, or when it is not repeated for 45 s; the
// rules are those of claims over MQTT. An error of type *twin.Error refuses it. Claim waits until
// Run runs.
func (b *Bridge) Claim(ctx context.Context, protocol, mapper string) (holder string, err error) {
	if mapper == "" || !topics.IsMapperName(mapper) {
		return "", &twin.Error{Code: twin.CodeInvalid, Reason: fmt.Sprintf("the mapper's name is %.140q: use 1 to %d bytes that can be printed", mapper, topics.MaxMapperName)}
	}
	return b.claimLocally(ctx, protocol, topics.ClaimMessage{Mapper: mapper, Instance: localInstance})
}

// Release ends a claim by Claim, so that a mapper that waits need not wait until it runs out.
func (b *Bridge) Release(ctx context.Context, protocol string) error {
	_, err := b.claimLocally(ctx, protocol, topics.ClaimMessage{Instance: localInstance, Release: true})
	return err
}

func (b *Bridge) claimLocally(ctx context.Context, protocol string, m topics.ClaimMessage) (holder string, err error) {
	done := make(chan claimAnswer, 1)
	select {
	case b.claims <- claimRequest{level: topics.ProtocolLevel(protocol), message: m, done: done}:
	case <-ctx.Done():
		return "", fmt.Errorf("twin/mqtt: claim of protocol %.140q: %w", protocol, ctx.Err())
	}
	select {
	case a := <-done:
		return a.holder, a.err
	case <-ctx.Done():
		return "", fmt.Errorf("twin/mqtt: claim of protocol %.140q: %w", protocol, ctx.Err())
	}
}

// handleClaim takes a claim of a mapper.
func (b *Bridge) handleClaim(ctx context.Context, m bus.Message) {
	level, _, ok := topics.ParseProtocol(strings.TrimPrefix(m.Topic, topics.Node(b.cfg.Node, "")))
	if !ok {
		return
	}
	r := claimRequest{level: level}
	r.message, r.err = decodeClaim(m.Payload)
	if r.id = r.message.EventID; r.id == "" {
		r.id = m.Property("event_id")
	}
	select {
	case b.claims <- r:
	case <-ctx.Done():
	}
}

// serveClaims decides about claims until ctx ends.
func (b *Bridge) serveClaims(ctx context.Context) {
	table := claimTable{claims: make(map[string]*claim)}
	look := time.NewTicker(claimEvery)
	defer look.Stop()
	began := time.Now() // the claims of the time before are not known at first
	var named map[string]string
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-b.claims:
			b.claim(ctx, &table, r)
		case now := <-look.C:
			for _, level := range table.expire(now) {
				b.publishClaim(ctx, &table, level, "")
			}
			if now.Sub(began) > claimLease+claimGrace {
				named = b.nameWaiting(ctx, &table, now, named)
			}
		}
	}
}

// claim answers one message.
func (b *Bridge) claim(ctx context.Context, table *claimTable, r claimRequest) {
	err := r.err
	changed := false
	if err == nil {
		changed, err = table.request(time.Now(), r.level, r.message)
	}
	if r.done != nil {
		a := claimAnswer{err: err}
		if m := table.result(r.level); err == nil && m.Holder != localInstance {
			a.holder = cmp.Or(m.HolderName, m.Holder)
		}
		r.done <- a
		if changed {
			b.publishClaim(ctx, table, r.level, "")
		}
		return
	}
	if err == nil {
		b.publishClaim(ctx, table, r.level, r.id)
		return
	}
	refused := &twin.Error{Code: twin.CodeInvalid, Reason: err.Error()}
	_ = errors.As(err, &refused)
	b.enqueue(ctx, reply{
		topic: b.claimTopic(r.level), id: r.id, body: &topics.ErrorMessage{Code: refused.Code, Reason: refused.Reason},
	})
}

func (b *Bridge) claimTopic(level string) string {
	return topics.Node(b.cfg.Node, topics.Result(topics.OfLevel(level, topics.MembershipClaim)))
}

func (b *Bridge) publishClaim(ctx context.Context, table *claimTable, level, id string) {
	b.enqueue(ctx, reply{topic: b.claimTopic(level), id: id, body: table.result(level)})
}

// nameWaiting brings the condition SingleMapper of all devices up to date. named has what it said
// of each protocol when this was last called; nil looks at all devices again.
func (b *Bridge) nameWaiting(ctx context.Context, table *claimTable, now time.Time, named map[string]string) map[string]string {
	next := make(map[string]string)
	for level := range table.claims {
		holder, waiting := table.waits(level, now.Add(-claimGrace))
		if len(waiting) > 0 {
			next[level] = fmt.Sprintf("mapper %q drives the device, and mapper %q serves the protocol on this node too and waits: end one of the two", holder, waiting[0])
		}
	}
	if len(next) == 0 && named != nil && len(named) == 0 {
		return next // nobody waits, and nobody did
	}
	for _, d := range b.cfg.Engine.Devices() {
		c := twin.Condition{Type: ConditionSingleMapper, Status: true, Reason: ConditionSingleMapper}
		if text := next[topics.ProtocolLevel(d.Member.Protocol)]; text != "" && d.Member.Protocol != "" {
			c.Status, c.Reason, c.Message = false, "MapperWaiting", text
		}
		i := slices.IndexFunc(d.Conditions, func(held twin.Condition) bool { return held.Type == c.Type })
		if i < 0 && c.Status || i >= 0 && d.Conditions[i].Status == c.Status && d.Conditions[i].Message == c.Message {
			continue
		}
		call := twin.Call{Device: d.ID, Request: twin.SetConditions{Conditions: []twin.Condition{c}, Edge: true}}
		if err := b.cfg.Engine.Submit(ctx, call); err != nil && ctx.Err() == nil {
			b.warn("condition of a device is lost: the twin engine does not run any more", "device", d.ID, "err", err)
		}
	}
	return next
}
