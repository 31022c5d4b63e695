package bustest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
)

// Subject is what a suite run tests.
type Subject struct {
	// Transport is under test; the suite calls its Run.
	Transport bus.Transport
	// Timeout bounds each wait; 0 means 10 s.
	Timeout time.Duration
}

// Run runs the suite; make is called for each test and gives a fresh
// Transport whose broker has no messages or sessions of before.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	tests := []struct {
		name string
		test func(t *testing.T, s *running)
	}{
		{"publish reaches a subscription made before Run", testBefore},
		{"payload QoS and properties survive", testContent},
		{"order is kept", testOrder},
		{"wildcards", testWildcards},
		{"overlapping subscriptions each get one copy", testOverlap},
		{"stop ends a subscription", testStop},
		{"retained messages reach later subscriptions", testRetained},
		{"a blocked subscription blocks no other", testBlocked},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, start(t, open(t))) })
	}
	t.Run("publish outside of Run", func(t *testing.T) {
		s := open(t)
		err := s.Transport.Publish(t.Context(), bus.Message{Topic: "a"})
		if !errors.Is(err, bus.ErrNotRunning) {
			t.Errorf("publish before Run: got %v, want ErrNotRunning", err)
		}
	})
}

// running is a Subject with a Bus around it that runs until the test ends.
type running struct {
	bus     *bus.Bus
	timeout time.Duration
	before  chan bus.Message
}

func start(t *testing.T, s Subject) *running {
	t.Helper()
	b, err := bus.New(bus.Config{Mode: bus.External, External: s.Transport})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{bus: b, timeout: s.Timeout}
	if r.timeout == 0 {
		r.timeout = time.Minute
	}
	r.before = r.subscribe(t, "before/run")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(r.timeout):
			t.Error("Run did not end with its context")
		}
	})
	select {
	case <-b.Ready():
	case <-time.After(r.timeout):
		t.Fatal("not ready in time")
	}
	return r
}

func (r *running) subscribe(t *testing.T, filter string) chan bus.Message {
	t.Helper()
	got := make(chan bus.Message, 2000)
	_, err := r.bus.Subscribe(filter, func(_ context.Context, m bus.Message) { got <- clone(m) })
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func (r *running) publish(t *testing.T, m bus.Message) {
	t.Helper()
	if err := r.bus.Publish(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

func (r *running) next(t *testing.T, got <-chan bus.Message) bus.Message {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(r.timeout):
		t.Fatal("no message in time")
		return bus.Message{}
	}
}

// none publishes a last message and checks that got holds nothing before it.
// got must be subscribed to suite/fence.
func (r *running) none(t *testing.T, got <-chan bus.Message) {
	t.Helper()
	r.publish(t, bus.Message{Topic: "suite/fence", QoS: bus.AtLeastOnce})
	if m := r.next(t, got); m.Topic != "suite/fence" {
		t.Errorf("unexpected message on %s: %q", m.Topic, m.Payload)
	}
}

func testBefore(t *testing.T, r *running) {
	r.publish(t, bus.Message{Topic: "before/run", Payload: []byte("x"), QoS: bus.AtLeastOnce})
	if m := r.next(t, r.before); string(m.Payload) != "x" {
		t.Errorf("payload %q, want x", m.Payload)
	}
}

func testContent(t *testing.T, r *running) {
	got := r.subscribe(t, "content/#")
	for qos := bus.AtMostOnce; qos <= bus.ExactlyOnce; qos++ {
		want := bus.Message{
			Topic: "content/ä b", Payload: []byte{0, 0xff, '"', qos0(qos)}, QoS: qos,
			Properties: []bus.Property{{Key: "event_id", Value: "e-1"}, {Key: "event_id", Value: "ü"}},
		}
		r.publish(t, want)
		m := r.next(t, got)
		if m.Topic != want.Topic || string(m.Payload) != string(want.Payload) {
			t.Errorf("QoS %d: got %q on %q", qos, m.Payload, m.Topic)
		}
		if fmt.Sprint(m.Properties) != fmt.Sprint(want.Properties) {
			t.Errorf("QoS %d: properties %v, want %v", qos, m.Properties, want.Properties)
		}
		if m.Retain {
			t.Errorf("QoS %d: a message that was not retained says that it was", qos)
		}
	}
}

func qos0(q bus.QoS) byte { return '0' + byte(q) }

func testOrder(t *testing.T, r *running) {
	got := r.subscribe(t, "order/+")
	const n = 500
	for i := range n {
		r.publish(t, bus.Message{Topic: fmt.Sprintf("order/%d", i%3), Payload: fmt.Append(nil, i), QoS: bus.AtLeastOnce})
	}
	for i := range n {
		if m := r.next(t, got); string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d: got %s", i, m.Payload)
		}
	}
}

func testWildcards(t *testing.T, r *running) {
	got := r.subscribe(t, "$hw/events/device/+/+/twin/+")
	fence := r.subscribe(t, "suite/fence")
	for _, topic := range []string{
		"$hw/events/device/dev/node/twin/update", "$hw/events/device/a/b/twin/update/result",
		"$hw/events/device/a/twin/get", "$hw/events/device/a/b/twin/get",
	} {
		r.publish(t, bus.Message{Topic: topic, QoS: bus.AtLeastOnce})
	}
	for _, want := range []string{"$hw/events/device/dev/node/twin/update", "$hw/events/device/a/b/twin/get"} {
		if m := r.next(t, got); m.Topic != want {
			t.Errorf("got %s, want %s", m.Topic, want)
		}
	}
	r.none(t, fence)
}

func testOverlap(t *testing.T, r *running) {
	all, fence := r.subscribe(t, "overlap/#"), r.subscribe(t, "suite/fence")
	one := r.subscribe(t, "overlap/+")
	same := r.subscribe(t, "overlap/+")
	r.publish(t, bus.Message{Topic: "overlap/a", QoS: bus.AtLeastOnce})
	r.none(t, fence)
	for _, got := range []chan bus.Message{all, one, same} {
		r.next(t, got)
		select {
		case <-got:
			t.Error("a subscription got a second copy")
		default:
		}
	}
}

func testStop(t *testing.T, r *running) {
	got := make(chan bus.Message, 10)
	stop, err := r.bus.Subscribe("stop/a", func(_ context.Context, m bus.Message) { got <- m })
	if err != nil {
		t.Fatal(err)
	}
	still := r.subscribe(t, "stop/a")
	r.publish(t, bus.Message{Topic: "stop/a", QoS: bus.AtLeastOnce})
	r.next(t, got)
	r.next(t, still)
	stop()
	stop() // twice is fine
	r.publish(t, bus.Message{Topic: "stop/a", QoS: bus.AtLeastOnce})
	r.next(t, still)
	if len(got) != 0 {
		t.Error("a message came after stop")
	}
}

func testRetained(t *testing.T, r *running) {
	first := r.subscribe(t, "kept/+")
	r.publish(t, bus.Message{Topic: "kept/a", Payload: []byte("1"), Retain: true, QoS: bus.AtLeastOnce})
	r.publish(t, bus.Message{Topic: "kept/b", Payload: []byte("2"), Retain: true, QoS: bus.AtLeastOnce})
	r.next(t, first)
	r.next(t, first)
	m := r.next(t, r.subscribe(t, "kept/a"))
	if string(m.Payload) != "1" || !m.Retain {
		t.Errorf("got %q, retain %v; want the retained 1", m.Payload, m.Retain)
	}
}

func testBlocked(t *testing.T, r *running) {
	release := make(chan struct{})
	defer close(release)
	_, err := r.bus.Subscribe("blocked/a", func(ctx context.Context, _ bus.Message) {
		select {
		case <-release:
		case <-ctx.Done():
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	free := r.subscribe(t, "blocked/b")
	for range 10 {
		r.publish(t, bus.Message{Topic: "blocked/a", QoS: bus.AtLeastOnce})
	}
	r.publish(t, bus.Message{Topic: "blocked/b", QoS: bus.AtLeastOnce})
	r.next(t, free)
}
