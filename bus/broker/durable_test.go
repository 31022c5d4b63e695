package broker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
)

// disk is a Storage in memory. While it is held, no Apply returns.
type disk struct {
	mu     sync.Mutex
	data   map[string][]byte
	fail   int // how many Applies fail
	writes int
}

func (d *disk) Apply(_ context.Context, changes []broker.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail > 0 {
		d.fail--
		return errors.New("no space left on device")
	}
	if d.data == nil {
		d.data = make(map[string][]byte)
	}
	d.writes += len(changes)
	for _, c := range changes {
		if c.Value == nil {
			delete(d.data, c.Key)
		} else {
			d.data[c.Key] = slices.Clone(c.Value)
		}
	}
	return nil
}

// copy is what the disk holds now: that of a machine whose power is cut.
func (d *disk) copy() *disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &disk{data: maps.Clone(d.data)}
}

func (d *disk) Load(context.Context) iter.Seq2[broker.Record, error] {
	return func(yield func(broker.Record, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(d.data)) {
			if !yield(broker.Record{Key: key, Value: d.data[key]}, nil) {
				return
			}
		}
	}
}

// TestPowerCut cuts the power at each acknowledgement and starts a new broker on what the
// disk has then.
func TestPowerCut(t *testing.T) {
	d := &disk{}
	b, _ := start(t, broker.Config{Storage: d})
	sub := join(t, b.Addr(), connect{id: "sub", keep: true})
	sub.subscribe("a/#", 2)
	granted := d.copy()
	pub := join(t, b.Addr(), connect{id: "pub", keep: true})
	pub.publish(publishing{topic: "a/1", payload: "one", qos: 1, pid: 1, retain: true})
	pub.expect(packets.Puback)
	one := d.copy()
	first := sub.message("a/1", "one", 1)
	pub.publish(publishing{topic: "a/2", payload: "two", qos: 2, pid: 2})
	pub.expect(packets.Pubrec)
	two := d.copy()
	second := sub.message("a/2", "two", 2)
	sub.acknowledge(packets.Pubrec, second.PacketID)
	sub.expect(packets.Pubrel)
	received := d.copy()
	pub.acknowledge(packets.Pubrel, 2)
	pub.expect(packets.Pubcomp)
	released := d.copy()

	t.Run("after SUBACK", func(t *testing.T) {
		b, _ := start(t, broker.Config{Storage: granted})
		sub := join(t, b.Addr(), connect{id: "sub", keep: true})
		if !sub.ack.SessionPresent {
			t.Error("the session is gone")
		}
		if err := b.Publish(t.Context(), bus.Message{Topic: "a/b", Payload: []byte("x"), QoS: 1}); err != nil {
			t.Fatal(err)
		}
		sub.message("a/b", "x", 1)
	})
	t.Run("after PUBACK", func(t *testing.T) {
		b, _ := start(t, broker.Config{Storage: one})
		sub := join(t, b.Addr(), connect{id: "sub", keep: true})
		if again := sub.message("a/1", "one", 1); again.PacketID != first.PacketID {
			t.Errorf("packet identifier %d, was %d", again.PacketID, first.PacketID)
		}
		late := join(t, b.Addr(), connect{id: "late"})
		late.subscribe("+/1", 1)
		if m := late.message("a/1", "one", 1); !m.FixedHeader.Retain {
			t.Error("the retained message does not say so")
		}
	})
	t.Run("after PUBREC", func(t *testing.T) {
		b, _ := start(t, broker.Config{Storage: two})
		pub := join(t, b.Addr(), connect{id: "pub", keep: true})
		pub.publish(publishing{topic: "a/2", payload: "two", qos: 2, pid: 2, dup: true})
		pub.expect(packets.Pubrec)
		sub := join(t, b.Addr(), connect{id: "sub", keep: true})
		sub.message("a/1", "one", 1)
		if again := sub.message("a/2", "two", 2); again.PacketID != second.PacketID {
			t.Errorf("packet identifier %d, was %d", again.PacketID, second.PacketID)
		}
		sub.ping() // nothing was doubled
	})
	t.Run("after the subscriber's PUBREC", func(t *testing.T) {
		b, _ := start(t, broker.Config{Storage: received})
		sub := join(t, b.Addr(), connect{id: "sub", keep: true})
		sub.message("a/1", "one", 1)
		if rel := sub.expect(packets.Pubrel); rel.PacketID != second.PacketID { // after a commit
			t.Errorf("PUBREL for %d, want %d", rel.PacketID, second.PacketID)
		}
		sub.ping() // the second is not sent again
	})
	t.Run("after PUBCOMP", func(t *testing.T) {
		b, _ := start(t, broker.Config{Storage: released})
		pub := join(t, b.Addr(), connect{id: "pub", keep: true})
		pub.publish(publishing{topic: "b", payload: "new", qos: 2, pid: 2})
		pub.expect(packets.Pubrec)
		if got := b.Stats().Received; got != 1 {
			t.Errorf("%d messages", got)
		}
	})
}

// TestNothingLeft has all messages acknowledged: the disk keeps only the sessions.
func TestNothingLeft(t *testing.T) {
	d := &disk{fail: 1} // the first write fails and is tried again
	b, stop := start(t, broker.Config{Storage: d})
	sub := join(t, b.Addr(), connect{id: "sub", keep: true})
	sub.subscribe("a", 2)
	pub := join(t, b.Addr(), connect{id: "pub"})
	for i := range 50 {
		qos := byte(1 + i%2)
		pub.publish(publishing{topic: "a", payload: fmt.Sprint(i), qos: qos, pid: uint16(i + 1)})
		m := sub.message("a", fmt.Sprint(i), qos)
		if qos == 1 {
			pub.expect(packets.Puback)
			sub.acknowledge(packets.Puback, m.PacketID)
			continue
		}
		pub.expect(packets.Pubrec)
		pub.acknowledge(packets.Pubrel, uint16(i+1))
		pub.expect(packets.Pubcomp)
		sub.acknowledge(packets.Pubrec, m.PacketID)
		sub.expect(packets.Pubrel)
		sub.acknowledge(packets.Pubcomp, m.PacketID)
	}
	sub.ping()
	if q := b.Stats(); q.QueuedBytes != 0 || q.Failures != 1 {
		t.Errorf("%+v", q)
	}
	stop()
	if keys := slices.Sorted(maps.Keys(d.data)); len(keys) != 2 {
		t.Errorf("the disk keeps %v", keys)
	}
	b, stop = start(t, broker.Config{Storage: d})
	again := join(t, b.Addr(), connect{id: "sub", keep: true})
	again.ping()
	clean := join(t, b.Addr(), connect{id: "sub"})
	clean.leave()
	stop()
	if keys := slices.Sorted(maps.Keys(d.data)); len(keys) != 0 {
		t.Errorf("the disk keeps %v", keys)
	}
}

// TestCleanIsNotWritten passes QoS 1 to a clean session and to the program: no write.
func TestCleanIsNotWritten(t *testing.T) {
	d := &disk{}
	b, stop := start(t, broker.Config{Storage: d})
	got := make(chan bus.Message, 10)
	if _, err := b.Subscribe("a", func(m bus.Message) { got <- m }); err != nil {
		t.Fatal(err)
	}
	sub := join(t, b.Addr(), connect{id: "sub"})
	sub.subscribe("a", 1)
	sub.publish(publishing{topic: "a", payload: "x", qos: 1, pid: 1})
	sub.message("a", "x", 1)
	sub.expect(packets.Puback)
	<-got
	stop()
	if d.writes != 0 {
		t.Errorf("%d writes", d.writes)
	}
}

// TestDamagedRecords starts on a disk with rubbish: what is whole is used.
func TestDamagedRecords(t *testing.T) {
	d := &disk{}
	b, stop := start(t, broker.Config{Storage: d})
	join(t, b.Addr(), connect{id: "sub", keep: true}).subscribe("a", 1)
	if err := b.Publish(t.Context(), bus.Message{Topic: "a", Payload: []byte("x"), QoS: 1}); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, key := range []string{"s/zz", "s/00000000000000ff", "c/zz", "c/00000000000000ff", "m/zz", "m/00000000000000ff", "r/a", "x", ""} {
		d.data[key] = []byte{1, 2, 3}
	}
	b, _ = start(t, broker.Config{Storage: d})
	join(t, b.Addr(), connect{id: "sub", keep: true}).message("a", "x", 1)
}
