package client

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"
)

// disk is a Received in memory.
type disk struct {
	sums map[uint16][]byte
	err  error // of each change
}

func (d *disk) Load(ctx context.Context) (map[uint16][]byte, error) {
	return maps.Clone(d.sums), ctx.Err()
}

func (d *disk) Put(_ context.Context, id uint16, sum []byte) error {
	if d.err == nil {
		d.sums[id] = sum
	}
	return d.err
}

func (d *disk) Remove(_ context.Context, ids ...uint16) error {
	if d.err == nil {
		for _, id := range ids {
			delete(d.sums, id)
		}
	}
	return d.err
}

func publishOf(id uint16, payload string) *packets.Publish {
	return &packets.Publish{Topic: "t", Payload: []byte(payload), QoS: 2, PacketID: id, Duplicate: true}
}

func loaded(t *testing.T, d *disk, log *slog.Logger) (i *inbound, end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	i = newInbound(d, log)
	if err := i.load(ctx); err != nil {
		t.Fatal(err)
	}
	return i, cancel
}

// TestInbound: an identifier is on the disk from the delivery to PUBREL, and known to the next run.
func TestInbound(t *testing.T) {
	d := &disk{sums: map[uint16][]byte{}}
	i, end := loaded(t, d, slog.New(slog.DiscardHandler))
	if !i.put(publishOf(7, "a")) || !i.put(publishOf(8, "b")) || len(d.sums) != 2 {
		t.Fatalf("%d on the disk", len(d.sums))
	}
	if !i.put(&packets.Publish{QoS: 1, PacketID: 9}) || len(d.sums) != 2 {
		t.Error("a message of QoS 1 is stored")
	}
	end()
	if i.put(publishOf(9, "c")) || i.remove(7) || len(d.sums) != 2 {
		t.Error("a message is answered after the end of Run")
	}
	i, _ = loaded(t, d, slog.New(slog.DiscardHandler))
	if ids, err := (serverStore{i}).List(); err != nil || len(ids) != 2 || ids[0] != 7 {
		t.Errorf("%v, %v", ids, err)
	}
	same, other := publishOf(7, "a"), publishOf(8, "another")
	i.compare(same)
	i.compare(other)
	if !same.Duplicate || other.Duplicate {
		t.Error("a message is recognised by its identifier alone, or without it")
	}
	if !i.remove(7) || !i.remove(1) || len(d.sums) != 1 {
		t.Errorf("%d on the disk", len(d.sums))
	}
	if err := (serverStore{i}).Reset(); err != nil || len(d.sums) != 0 || i.has(8) {
		t.Errorf("a new session knows the old one's messages: %v", err)
	}
}

// TestInboundFails: with a store that fails, messages are answered all the same, and it is logged once.
func TestInboundFails(t *testing.T) {
	var log strings.Builder
	i, _ := loaded(t, &disk{sums: map[uint16][]byte{5: nil}, err: errors.New("no space")}, slog.New(slog.NewTextHandler(&log, nil)))
	if !i.put(publishOf(7, "a")) || !i.remove(7) || !i.remove(5) {
		t.Error("a message is not answered")
	}
	if n := strings.Count(log.String(), "no space"); n != 1 {
		t.Errorf("logged %d times", n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c, err := New(Config{Received: &disk{}, SessionExpiry: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Run(ctx); err != nil {
		t.Errorf("a Run that ends at its start: %v", err)
	}
}

// TestLatePubrec: a PUBREC that was read before the connection ended is handled after it. paho would
// write the answer to a connection that is nil.
func TestLatePubrec(t *testing.T) {
	m := newMemory(newOutbox(1, func() {}), nil, func(byte) {})
	ack := &packets.Connack{SessionPresent: true}
	if err := m.ConAckReceived(io.Discard, &packets.Connect{Properties: &packets.Properties{SessionExpiryInterval: new(uint32)}}, ack); err != nil {
		t.Fatal(err)
	}
	if err := m.ConnectionLost(nil); err != nil {
		t.Fatal(err)
	}
	late := packets.NewControlPacket(packets.PUBREC)
	if err := m.PacketReceived(late, nil); err != nil {
		t.Error(err)
	}
}
