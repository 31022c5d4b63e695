package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus/broker"
)

// stepped is a gate in front of a small disk, of which it keeps a copy after each write.
type stepped struct {
	gate
	states []*disk
	most   int // bytes of one write
}

func (s *stepped) MaxApply() int { return 120 }

func (s *stepped) Apply(ctx context.Context, changes []broker.Record) error {
	err := s.gate.Apply(ctx, changes)
	size := 0
	for _, c := range changes {
		size += len(c.Key) + len(c.Value)
	}
	if len(changes) > 2 { // a message and its cursor may be more
		s.most = max(s.most, size)
	}
	s.states = append(s.states, s.copy())
	return err
}

// TestPowerCutBetweenParts has a batch of messages of QoS 2 written in many parts, and cuts the
// power after each. When the publisher sends all again, each message comes once.
func TestPowerCutBetweenParts(t *testing.T) {
	const messages = 12
	d := &stepped{gate: gate{writing: make(chan struct{}, 1)}}
	b, stop := start(t, broker.Config{Storage: d})
	sub := join(t, b.Addr(), connect{id: "sub", keep: true})
	sub.subscribe("a", 2)
	pub := join(t, b.Addr(), connect{id: "pub", keep: true})
	other := join(t, b.Addr(), connect{id: "other", keep: true})
	waitFor(t, func() bool { return len(d.copy().data) == 6 }) // the sessions and their cursors
	release := d.hold()
	other.publish(publishing{topic: "a", payload: "other", qos: 2, pid: 1}) // its commit holds up the others
	<-d.writing
	for i := range messages {
		pub.publish(publishing{topic: "a", payload: fmt.Sprint(i), qos: 2, pid: uint16(i + 1)})
	}
	pub.ping() // the broker has them
	release()
	for range messages {
		pub.expect(packets.Pubrec)
	}
	sub.conn.Close()
	stop()
	whole := slices.IndexFunc(d.states, func(s *disk) bool { return keptMessages(s) == messages+1 })
	first := slices.IndexFunc(d.states, func(s *disk) bool { return keptMessages(s) > 1 })
	if whole-first < 3 || d.most > 120+60 { // and a cursor
		t.Fatalf("the messages are written in %d parts of up to %d bytes", whole-first+1, d.most)
	}
	for _, state := range d.states[first : whole+1] {
		t.Run(fmt.Sprint("after ", keptMessages(state)), func(t *testing.T) {
			b, _ := start(t, broker.Config{Storage: state})
			pub := join(t, b.Addr(), connect{id: "pub", keep: true})
			for i := range messages {
				pub.publish(publishing{topic: "a", payload: fmt.Sprint(i), qos: 2, pid: uint16(i + 1), dup: true})
				pub.expect(packets.Pubrec)
			}
			sub := join(t, b.Addr(), connect{id: "sub", keep: true})
			sub.message("a", "other", 2)
			for i := range messages {
				sub.message("a", fmt.Sprint(i), 2)
			}
			sub.ping() // there are no more
		})
	}
}

// keptMessages is how many messages a disk holds.
func keptMessages(d *disk) (n int) {
	for key := range d.data {
		if strings.HasPrefix(key, "m/") {
			n++
		}
	}
	return n
}
