package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/hub/hubtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// run runs a bus until the test ends or stop is called.
func run(t *testing.T, cfg bus.Config) (b *bus.Bus, stop func() error) {
	t.Helper()
	b, err := bus.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()
	return b, func() error { cancel(); return <-ended }
}

func TestBoth(t *testing.T) {
	inside, outside := bustest.New(), bustest.New()
	b, stop := run(t, bus.Config{Mode: bus.Both, Internal: inside, External: outside})
	got := make(chan string, 10)
	if _, err := b.Subscribe("a/+", func(_ context.Context, m bus.Message) { got <- m.Topic }); err != nil {
		t.Fatal(err)
	}
	for _, transport := range []*bustest.Transport{inside, outside} {
		if err := transport.Publish(t.Context(), bus.Message{Topic: "a/b"}); err != nil {
			t.Fatal(err)
		}
		if topic := <-got; topic != "a/b" {
			t.Errorf("got %s", topic)
		}
		transport.Sent()
	}

	// A failure at one transport does not keep the message from the other.
	broken := errors.New("cable")
	inside.Fail(broken)
	if err := b.Publish(t.Context(), bus.Message{Topic: "x"}); !errors.Is(err, broken) {
		t.Errorf("got %v, want the failure", err)
	}
	hubtest.Until(t, "the message went outside, through its queue", func() bool { return len(outside.Sent()) > 0 })
	ups := 0
	stopNotify := b.NotifyConnect(func() { ups++ })
	inside.Reconnect()
	outside.Reconnect()
	stopNotify()
	outside.Reconnect()
	if ups != 2 {
		t.Errorf("notified %d times, want 2", ups)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := b.Subscribe("a", func(context.Context, bus.Message) {}); !errors.Is(err, bus.ErrNotRunning) {
		t.Errorf("Subscribe after Run: %v", err)
	}
	if err := b.Run(t.Context()); !errors.Is(err, bus.ErrStarted) {
		t.Errorf("second Run: %v", err)
	}
}

// failing is a Transport whose Run fails at once.
type failing struct{ *bustest.Transport }

func (failing) Run(context.Context) error { return errors.New("address in use") }

func TestTransportFails(t *testing.T) {
	b, err := bus.New(bus.Config{Mode: bus.Both, Internal: bustest.New(), External: failing{bustest.New()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Run(t.Context()); err == nil || err.Error() != "bus: address in use" {
		t.Errorf("Run: %v", err)
	}
}

// TestFullQueue fills a subscription's queue: the publisher waits, nothing is
// lost, and stop lets the publisher go.
func TestFullQueue(t *testing.T) {
	transport := bustest.New()
	b, stop := run(t, bus.Config{Internal: transport, Queue: 1})
	defer stop()
	release, got := make(chan struct{}), make(chan string, 10)
	end, err := b.Subscribe("a", func(_ context.Context, m bus.Message) {
		got <- string(m.Payload)
		<-release
	})
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i := range 4 {
			if err := b.Publish(t.Context(), bus.Message{Topic: "a", Payload: fmt.Append(nil, i)}); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range 3 {
		if m := <-got; m != fmt.Sprint(i) {
			t.Errorf("got %s, want %d", m, i)
		}
		if i < 2 {
			release <- struct{}{}
		}
	}
	end()
	close(release)
	<-sent
}

func TestConfigErrors(t *testing.T) {
	fake := bustest.New()
	for _, cfg := range []bus.Config{
		{}, {Mode: bus.External, Internal: fake}, {Mode: bus.Both, Internal: fake}, {Mode: 7, Internal: fake}, {Internal: fake, Queue: -1},
	} {
		if _, err := bus.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
	b, err := bus.New(bus.Config{Internal: fake})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Subscribe("a/#/b", func(context.Context, bus.Message) {}); err == nil {
		t.Error("a bad filter was taken")
	}
	if _, err := b.Subscribe("a", nil); err == nil {
		t.Error("no handler was taken")
	}
}

func Example() {
	b, err := bus.New(bus.Config{Mode: bus.Internal, Internal: bustest.New()}) // bus/broker in real life
	if err != nil {
		fmt.Println(err)
		return
	}
	seen := make(chan string)
	_, err = b.Subscribe("home/+/temperature", func(_ context.Context, m bus.Message) {
		seen <- m.Topic + " " + string(m.Payload)
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()
	if err := b.Publish(ctx, bus.Message{Topic: "home/kitchen/temperature", Payload: []byte("21")}); err != nil {
		fmt.Println(err)
	}
	fmt.Println(<-seen)
	cancel()
	fmt.Println(<-ended)
	// Output:
	// home/kitchen/temperature 21
	// <nil>
}
