package mqtt

import (
	"context"

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
	id     string // the requester's event_id; empty makes a new one
}

func (b *Bridge) handleMembership(ctx context.Context, m bus.Message) {
	id := eventID(m.Payload)
	if id == "" {
		id = m.Property("event_id")
	}
	b.enqueue(ctx, listRequest{detail: m.Topic == topics.Node(b.cfg.Node, topics.MembershipDetail), id: id})
}

// membership publishes that a device was added, changed or removed. A list of all devices for
// each change would be too much for a node with many.
func (b *Bridge) membership(ctx context.Context, c twin.Commit, e twin.Membership) {
	b.revision++
	m := &topics.MembershipMessage{Revision: b.revision}
	switch e.Kind {
	case twin.Added:
		m.Added = []topics.DeviceEntry{encodeDetail(e.Device, c.Time)}
	case twin.Removed:
		m.Removed = []topics.DeviceEntry{encodeDevice(e.Device, c.Time)}
	case twin.Changed:
		m.Changed = []topics.DeviceEntry{encodeDetail(e.Device, c.Time)}
	}
	b.send(ctx, topics.Node(b.cfg.Node, topics.MembershipUpdated), "", c.Time, m)
}

// list publishes all devices, in messages of about pageBytes.
func (b *Bridge) list(ctx context.Context, r listRequest) {
	topic := topics.Node(b.cfg.Node, topics.Result(topics.MembershipGet))
	encode := encodeDevice
	if r.detail {
		topic = topics.Node(b.cfg.Node, topics.Result(topics.MembershipDetail))
		encode = encodeDetail
	}
	if r.id == "" {
		r.id = newEventID()
	}
	m := &topics.DeviceListMessage{Devices: []topics.DeviceEntry{}, Revision: b.revision}
	size, now := 0, b.cfg.Now()
	for _, d := range b.cfg.Engine.Devices() {
		entry := encode(d, now)
		if next := sizeOf(entry); len(m.Devices) > 0 && size+next > pageBytes {
			m.More = true
			b.send(ctx, topic, r.id, now, m)
			m = &topics.DeviceListMessage{Revision: b.revision}
			size = 0
		}
		m.Devices = append(m.Devices, entry)
		size += sizeOf(entry)
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
