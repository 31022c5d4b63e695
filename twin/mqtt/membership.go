package mqtt

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/twin"
)

// pageBytes is about how large one message of a list is: a device that is larger has one of
// its own.
const pageBytes = 128 << 10

// listRequest asks for a list of devices.
type listRequest struct {
	detail bool
	level  string // of the protocol whose devices are asked for; empty for all devices
	id     string // the requester's event_id; empty makes a new one
}

func (b *Bridge) handleMembership(ctx context.Context, m bus.Message) {
	id := eventID(m.Payload)
	if id == "" {
		id = m.Property("event_id")
	}
	action := strings.TrimPrefix(m.Topic, topics.Node(b.cfg.Node, ""))
	level, _, ok := topics.ParseProtocol(action)
	b.enqueue(ctx, listRequest{detail: ok || action == topics.MembershipDetail, level: level, id: id})
}

// revisions number the messages about membership: one sequence is for all devices, with the
// level "", and one for those of each protocol. They begin with the time, so that they grow
// over restarts.
type revisions struct {
	first int64
	last  map[string]int64 // by level of the protocol
}

func newRevisions(now time.Time) revisions {
	return revisions{first: now.UnixMicro(), last: make(map[string]int64)}
}

func (r *revisions) next(level string) int64 {
	r.last[level] = r.current(level) + 1
	return r.last[level]
}

func (r *revisions) current(level string) int64 { return max(r.first, r.last[level]) }

// announceAll publishes what a client may have missed while the node or the broker was away: the
// lists of all devices and of the devices of each protocol that the node has or has had, and
// the deltas. A desired value that is in the store may have no delta yet: the node may have
// been killed between the two.
func (b *Bridge) announceAll(ctx context.Context) {
	devices := b.cfg.Engine.Devices() // all is about the same: a delta of a newer device would come before the device
	b.list(ctx, listRequest{detail: true}, devices)
	levels := maps.Clone(b.revisions.last)
	delete(levels, "")
	for _, d := range devices {
		if d.Member.Protocol != "" {
			levels[topics.ProtocolLevel(d.Member.Protocol)] = 0
		}
	}
	for _, level := range slices.Sorted(maps.Keys(levels)) {
		b.list(ctx, listRequest{detail: true, level: level}, devices)
	}
	now := b.cfg.Now()
	for _, d := range devices {
		if delta, open := d.Delta(); open {
			b.delta(ctx, d.ID, now, delta)
		}
	}
}

// membership publishes that a device was added, changed or removed, for all mappers and for
// those of its protocol. A list of all devices for each change would be too much for a node
// with many.
func (b *Bridge) membership(ctx context.Context, c twin.Commit, e twin.Membership) {
	b.change(ctx, c, e.Kind, "", e.Device)
	before, now := e.Last.Protocol, e.Device.Member.Protocol
	if before != now && before != "" {
		b.change(ctx, c, twin.Removed, before, e.Device)
	}
	if before != now && e.Kind == twin.Changed {
		e.Kind = twin.Added
	}
	if now != "" {
		b.change(ctx, c, e.Kind, now, e.Device)
	}
}

// change publishes one change to those who follow a protocol; "" is all devices.
func (b *Bridge) change(ctx context.Context, c twin.Commit, kind twin.MembershipKind, protocol string, d twin.Device) {
	action, level := topics.MembershipUpdated, ""
	if protocol != "" {
		action, level = topics.OfProtocol(protocol, action), topics.ProtocolLevel(protocol)
	}
	m := &topics.MembershipMessage{Revision: b.revisions.next(level)}
	switch kind {
	case twin.Added:
		m.Added = []topics.DeviceEntry{encodeDetail(d, c.Time)}
	case twin.Removed:
		m.Removed = []topics.DeviceEntry{encodeDevice(d, c.Time)}
	case twin.Changed:
		m.Changed = []topics.DeviceEntry{encodeDetail(d, c.Time)}
	}
	b.send(ctx, topics.Node(b.cfg.Node, action), "", c.Time, m)
}

// list publishes those of the devices that are asked for, in messages of about pageBytes.
func (b *Bridge) list(ctx context.Context, r listRequest, devices []twin.Device) {
	action, encode := topics.MembershipGet, encodeDevice
	switch {
	case r.level != "":
		action, encode = topics.OfLevel(r.level, topics.MembershipDetail), encodeDetail
	case r.detail:
		action, encode = topics.MembershipDetail, encodeDetail
	}
	topic := topics.Node(b.cfg.Node, topics.Result(action))
	r.id = orNew(r.id)
	revision := b.revisions.current(r.level)
	m := &topics.DeviceListMessage{Devices: []topics.DeviceEntry{}, Revision: revision}
	size, now := 0, b.cfg.Now()
	for _, d := range devices {
		if r.level != "" && topics.ProtocolLevel(d.Member.Protocol) != r.level {
			continue
		}
		entry := encode(d, now)
		next := sizeOf(entry)
		if len(m.Devices) > 0 && size+next > pageBytes {
			m.More = true
			b.send(ctx, topic, r.id, now, m)
			m = &topics.DeviceListMessage{Revision: revision}
			size = 0
		}
		m.Devices = append(m.Devices, entry)
		size += next
	}
	b.send(ctx, topic, r.id, now, m)
}

// sizeOf estimates how many bytes a device has in a message.
func sizeOf(d topics.DeviceEntry) int {
	size := 256 + len(d.Description) + len(d.Spec) + len(d.Model)
	for name, t := range d.Twin {
		size += 64 + len(name)
		if t != nil {
			size += 128 + len(t.Expected.Text()) + len(t.Actual.Text())
		}
	}
	return size
}
