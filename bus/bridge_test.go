package bus_test

import (
	"context"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
)

// TestBridgeFilters refuses filters that would bring messages twice or not at all.
func TestBridgeFilters(t *testing.T) {
	for _, test := range []struct {
		cfg  bus.Bridge
		want string // part of the error; empty if there is none
	}{
		{bus.Bridge{}, ""},
		{bus.Bridge{Out: []string{"a/#", "a/b", "$hw/events/#"}, In: []string{"a/#", "b/+", "c"}}, ""},
		{bus.Bridge{In: []string{"a/+/c", "a/b/d", "+/+"}}, ""},
		{bus.Bridge{Out: []string{""}}, "Out"},
		{bus.Bridge{In: []string{"a/#/b"}}, "In"},
		{bus.Bridge{In: []string{"$share/x/a"}}, "leave it out"},
		{bus.Bridge{Out: []string{"$share/x/a"}}, "leave it out"},
		{bus.Bridge{Out: []string{"$SYS/broker"}}, "leave it out"},
		{bus.Bridge{In: []string{"$hw/events/device/+/+/twin/update"}}, "leave it out"},
		{bus.Bridge{In: []string{"a/#", "a"}}, "overlap"},
		{bus.Bridge{In: []string{"a/+/c", "a/b/+"}}, "overlap"},
		{bus.Bridge{In: []string{"#", "b"}}, "overlap"},
	} {
		err := test.cfg.Validate()
		if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v", test.cfg, err)
		}
	}
	filters := bus.Bridge{In: []string{"a"}}
	for _, cfg := range []bus.Config{
		{Mode: bus.External, External: bustest.New(), Bridge: filters},
		{Mode: bus.Both, Internal: bustest.New(), External: bustest.New(), Bridge: filters}, // they keep nothing
	} {
		if _, err := bus.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Bridge") {
			t.Errorf("mode %s: %v", cfg.Mode, err)
		}
	}
}

// lateGateway is a gateway that is ready when the test says so.
type lateGateway struct {
	*bustest.Transport
	ready chan struct{}
	came  chan string
}

func (g *lateGateway) Ready() <-chan struct{}  { return g.ready }
func (g *lateGateway) Outgoing([]string) error { return nil }

func (g *lateGateway) Forward(ctx context.Context, _ func(context.Context, bus.Message, func()) error) error {
	<-ctx.Done()
	return ctx.Err()
}

func (g *lateGateway) Incoming(_ context.Context, m bus.Message) error {
	g.came <- string(m.Payload)
	return nil
}

// waitingBroker is an outside broker at which a message waits: it comes with the connection.
type waitingBroker struct {
	*bustest.Transport
	deliver func(bus.Message)
	runs    chan struct{} // holds one value when Run has begun
}

func (w *waitingBroker) Run(ctx context.Context) error {
	w.runs <- struct{}{}
	if w.deliver != nil {
		w.deliver(bus.Message{Topic: "t", Payload: []byte("waited"), QoS: bus.AtLeastOnce})
	}
	return w.Transport.Run(ctx)
}

func (w *waitingBroker) PublishConfirm(context.Context, bus.Message, func()) error { return nil }

func (w *waitingBroker) SubscribeIncoming(_ string, deliver func(bus.Message)) (func(), error) {
	w.deliver = deliver
	return func() {}, nil
}

// TestBridgeStart: the outside transport runs when the gateway is ready and the subscriptions are
// made, so that what has waited at the outside broker is not lost.
func TestBridgeStart(t *testing.T) {
	for name, ready := range map[string]bool{"ready": true, "never ready": false} {
		t.Run(name, func(t *testing.T) {
			inside := &lateGateway{Transport: bustest.New(), ready: make(chan struct{}), came: make(chan string, 1)}
			outside := &waitingBroker{Transport: bustest.New(), runs: make(chan struct{}, 1)}
			b, err := bus.New(bus.Config{Mode: bus.Both, Internal: inside, External: outside, Bridge: bus.Bridge{In: []string{"t"}}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- b.Run(ctx) }()
			<-inside.Transport.Ready() // the inside transport runs
			if len(outside.runs) > 0 {
				t.Error("the outside transport runs before the gateway is ready")
			}
			if ready {
				close(inside.ready)
				if m := <-inside.came; m != "waited" {
					t.Errorf("got %q", m)
				}
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if ran := len(outside.runs) > 0; ran != ready {
				t.Errorf("the outside transport ran: %v", ran)
			}
		})
	}
}
