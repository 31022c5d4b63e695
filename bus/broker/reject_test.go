package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
)

// picky is a Storage that refuses batches with certain values for ever.
type picky struct {
	disk
	refuses string
}

func (p *picky) Apply(ctx context.Context, changes []broker.Record) error {
	for _, c := range changes {
		if strings.Contains(string(c.Value), p.refuses) {
			return errors.New("value is not allowed")
		}
	}
	return p.disk.Apply(ctx, changes)
}

// TestRefusedRecord has a storage that refuses one record for ever: the other messages of its
// batch are stored and acknowledged, and it is counted.
func TestRefusedRecord(t *testing.T) {
	d := &picky{refuses: "poison"}
	b, stop := start(t, broker.Config{Storage: d})
	sub := join(t, b.Addr(), connect{id: "sub", keep: true})
	sub.subscribe("a/#", 1)
	pub := join(t, b.Addr(), connect{id: "pub"})
	const count = 20
	for i := range count {
		payload := fmt.Sprint("message ", i)
		if i == 7 || i == 12 {
			payload = "poison"
		}
		pub.publish(publishing{topic: "a/1", payload: payload, qos: 1, pid: uint16(i + 1)})
	}
	for range count {
		pub.expect(packets.Puback)
	}
	if s := b.Stats(); s.Rejected != 2 || s.Failures == 0 {
		t.Errorf("%d records rejected, %d failures", s.Rejected, s.Failures)
	}
	_ = sub.conn.Close() // it has acknowledged nothing
	stop()
	again, _ := start(t, broker.Config{Storage: d.copy()})
	sub = join(t, again.Addr(), connect{id: "sub", keep: true})
	for i := range count {
		if i != 7 && i != 12 {
			sub.message("a/1", fmt.Sprint("message ", i), 1)
		}
	}
}

// TestStorageDown has a storage that takes nothing for a while: nothing is left out then.
func TestStorageDown(t *testing.T) {
	t.Parallel()
	d := &disk{fail: 6}
	b, _ := start(t, broker.Config{Storage: d})
	if err := b.Publish(t.Context(), bus.Message{Topic: "a", Payload: []byte("x"), QoS: 1, Retain: true}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return b.Stats().Commits > 0 })
	if s := b.Stats(); s.Rejected != 0 || s.Failures < 3 {
		t.Errorf("%+v", s)
	}
}

// brief is a Storage that refuses messages three times, works for one probe, and then fails for
// a while.
type brief struct {
	disk
	refuse, fails int
	worked        bool
}

func (s *brief) Apply(ctx context.Context, changes []broker.Record) error {
	probe := len(changes) == 2 && changes[0].Key == "p"
	message := slices.ContainsFunc(changes, func(r broker.Record) bool { return strings.HasPrefix(r.Key, "m/") })
	switch {
	case s.refuse > 0 && message:
		s.refuse--
		return errors.New("value is not allowed")
	case s.refuse == 0 && !s.worked:
		s.worked = probe
	case s.worked && s.fails > 0:
		s.fails--
		return errors.New("no space left on device")
	}
	return s.disk.Apply(ctx, changes)
}

// TestStorageDownAfterProbe has a storage that fails again while the broker looks for the record
// that it refuses: none is left out.
func TestStorageDownAfterProbe(t *testing.T) {
	t.Parallel()
	d := &brief{refuse: 3, fails: 5}
	b, stop := start(t, broker.Config{Storage: d})
	sub := join(t, b.Addr(), connect{id: "sub", keep: true})
	sub.subscribe("a", 1)
	pub := join(t, b.Addr(), connect{id: "pub"})
	pub.publish(publishing{topic: "a", payload: "x", qos: 1, pid: 1})
	pub.expect(packets.Puback)
	if s := b.Stats(); s.Rejected != 0 {
		t.Errorf("%d records rejected", s.Rejected)
	}
	_ = sub.conn.Close() // it has acknowledged nothing
	stop()
	again, _ := start(t, broker.Config{Storage: d.copy()})
	join(t, again.Addr(), connect{id: "sub", keep: true}).message("a", "x", 1)
}
