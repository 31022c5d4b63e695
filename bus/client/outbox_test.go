package client_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestDurableOutbox publishes in mode External while the broker is away, and kills the program:
// the next run sends what was published up to the bound, in order, and counts the rest.
func TestDurableOutbox(t *testing.T) {
	const bound, more = 50, 7
	url := bustest.Address(t)
	program := func(d *memory) (*bus.Bus, *broker.Broker, func()) {
		outbox, err := broker.New(broker.Config{NoListen: true, Storage: d, MaxQueue: bound})
		if err != nil {
			t.Fatal(err)
		}
		c, err := client.New(client.Config{URL: url, ClientID: "node", SessionExpiry: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		b, err := bus.New(bus.Config{Mode: bus.External, External: c, Outbox: outbox})
		if err != nil {
			t.Fatal(err)
		}
		stop := runBus(t, b)
		t.Cleanup(stop)
		<-outbox.Ready()
		return b, outbox, stop
	}
	d := &memory{data: map[string][]byte{}}
	b, outbox, stop := program(d)
	for i := range bound + more {
		if err := b.Publish(t.Context(), bus.Message{Topic: "t/x", Payload: fmt.Append(nil, i), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	if s := outbox.Stats(); s.Bounds["outside"] != more || s.Dropped != more || s.Outside != bound {
		t.Errorf("%d over the bound, %d dropped, %d wait", s.Bounds["outside"], s.Dropped, s.Outside)
	}
	hubtest.Until(t, "the commit", func() bool { return d.messages() == bound })
	left := d.copy() // the program is killed
	stop()

	if _, stopOutside := startBroker(t, url); stopOutside != nil {
		defer stopOutside()
	}
	got := make(chan string, bound)
	reader, err := client.New(client.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := bus.New(bus.Config{Mode: bus.External, External: reader})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := listener.Subscribe("t/#", func(_ context.Context, m bus.Message) { got <- string(m.Payload) }); err != nil {
		t.Fatal(err)
	}
	defer runBus(t, listener)()
	<-listener.Ready()
	_, outbox, _ = program(left)
	for i := range bound {
		if m := <-got; m != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", m, i)
		}
	}
	hubtest.Until(t, "the last acknowledgement", func() bool { return outbox.Stats().Outside == 0 })
}
