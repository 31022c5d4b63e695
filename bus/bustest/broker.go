package bustest

import (
	"context"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
)

// Broker runs an MQTT broker until the test ends. It returns a Bus inside of it, which is ready,
// and the URL for clients.
func Broker(t testing.TB) (inside *bus.Bus, url string) {
	t.Helper()
	b, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	if inside, err = bus.New(bus.Config{Internal: b}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- inside.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	<-inside.Ready()
	return inside, "tcp://" + b.Addr().String()
}
