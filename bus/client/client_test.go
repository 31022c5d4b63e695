package client_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/client"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(receiverDir); dir != "" {
		if err := receive(dir, os.Getenv(receiverDir+"_URL"), os.Getenv(receiverDir+"_INSIDE")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// startBroker runs a broker at the address until the returned func is called.
func startBroker(t *testing.T, address string) (addr string, stop func()) {
	t.Helper()
	b, err := broker.New(broker.Config{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	select {
	case <-b.Ready():
	case err := <-ended:
		t.Fatal(err)
	}
	return "tcp://" + b.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestTransport(t *testing.T) {
	bustest.Run(t, func(t *testing.T) bustest.Subject {
		addr, stop := startBroker(t, "tcp://127.0.0.1:0")
		t.Cleanup(stop)
		c, err := client.New(client.Config{URL: addr})
		if err != nil {
			t.Fatal(err)
		}
		return bustest.Subject{Transport: c}
	})
}

// TestBrokerReturns takes the broker away, publishes, and brings another one
// back at the same address.
func TestBrokerReturns(t *testing.T) {
	addr, stop := startBroker(t, bustest.Address(t))
	c, err := client.New(client.Config{URL: addr, Queue: 3})
	if err != nil {
		t.Fatal(err)
	}
	mqtt, err := bus.New(bus.Config{Mode: bus.External, External: c})
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string, 10)
	if _, err := mqtt.Subscribe("a/#", func(_ context.Context, m bus.Message) { got <- string(m.Payload) }); err != nil {
		t.Fatal(err)
	}
	ups := make(chan struct{}, 10)
	mqtt.NotifyConnect(func() { ups <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mqtt.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-ups
	stop()

	// The first message may still go to the connection that is about to fail;
	// QoS 1 has it sent again.
	for _, payload := range []string{"1", "2"} {
		if err := mqtt.Publish(t.Context(), bus.Message{Topic: "a/b", Payload: []byte(payload), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	_, stop = startBroker(t, addr)
	defer stop()
	for _, want := range []string{"1", "2"} {
		select {
		case m := <-got:
			if m != want {
				t.Errorf("got %s, want %s", m, want)
			}
		case <-time.After(time.Minute):
			t.Fatalf("message %s did not come after the broker's return", want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	for _, cfg := range []client.Config{
		{URL: "127.0.0.1:1883"}, {URL: "tcp://127.0.0.1"}, {URL: "ws://a:1"}, {URL: "tcp://user:secret@a:1"},
		{Keepalive: time.Millisecond}, {Keepalive: -1}, {Queue: -1}, {SessionExpiry: -1},
	} {
		if _, err := client.New(cfg); err == nil {
			t.Errorf("%+v was taken", cfg)
		}
	}
}

func Example() {
	c, err := client.New(client.Config{URL: "mqtt.example.org"})
	fmt.Println(c, err)
	// Output: <nil> bus/client: Config.URL is "mqtt.example.org": use tcp://host:port, tls://host:port or unix:///path
}

// TestAway publishes to a client's session while the program of the client is not running.
func TestAway(t *testing.T) {
	addr, stop := startBroker(t, "tcp://127.0.0.1:0")
	defer stop()
	publisher, err := client.New(client.Config{URL: addr})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- publisher.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	<-publisher.Ready()
	for round := range 3 {
		c, err := client.New(client.Config{URL: addr, ClientID: "edgecore-x", SessionExpiry: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		mqtt, err := bus.New(bus.Config{Mode: bus.External, External: c})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan string, 10)
		if _, err := mqtt.Subscribe("a/#", func(_ context.Context, m bus.Message) { got <- string(m.Payload) }); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- mqtt.Run(ctx) }()
		<-mqtt.Ready()
		for want := max(0, 2*round-2); want < 2*round; {
			select {
			case m := <-got:
				switch i, err := strconv.Atoi(m); {
				case err == nil && i == want:
					want++
				case err != nil || i > want:
					t.Fatalf("round %d: got %s, want %d", round, m, want)
				} // an earlier one comes again if the client ended before its PUBACK went out
			case <-time.After(time.Minute):
				t.Fatalf("round %d: message %d did not come", round, want)
			}
		}
		cancel()
		<-ended
		for i := 2 * round; i < 2*round+2; i++ {
			if err := publisher.Publish(t.Context(), bus.Message{Topic: "a/b", Payload: fmt.Append(nil, i), QoS: bus.AtLeastOnce}); err != nil {
				t.Fatal(err)
			}
		}
	}
}
