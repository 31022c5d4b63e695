package client_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
)

// notOne is an Access of a broker that refuses one filter.
type notOne struct{}

func (notOne) Authenticate(context.Context, broker.Login) (broker.User, error) {
	return broker.User{Name: "anyone"}, nil
}

func (notOne) Allow(_ broker.User, topic string, action broker.Action) bool {
	return action != broker.ActionSubscribe || topic != "of/others"
}

// TestOneFilterRefused subscribes to a filter that the broker refuses beside one that it grants: the
// Client is ready, and gets what it may. A new mapper has such filters at an edgecore of an earlier version.
func TestOneFilterRefused(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "mqtt.sock")
	b, err := broker.New(broker.Config{Address: socket, Access: notOne{}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(client.Config{URL: socket})
	if err != nil {
		t.Fatal(err)
	}
	messages, connected := make(chan string, 10), make(chan struct{}, 10)
	for _, filter := range []string{"of/others", "own"} {
		if _, err := c.Subscribe(filter, func(m bus.Message) { messages <- m.Topic }); err != nil {
			t.Fatal(err)
		}
	}
	c.NotifyConnect(func() { connected <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	defer func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}()
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()
	go func() { ended <- c.Run(ctx) }()
	select {
	case <-c.Ready():
	case <-time.After(time.Minute):
		t.Error("the client is not ready")
		return
	}
	<-connected
	if err := c.Publish(ctx, bus.Message{Topic: "own", QoS: bus.AtLeastOnce}); err != nil {
		t.Error(err)
		return
	}
	if topic := <-messages; topic != "own" {
		t.Errorf("got a message on %s", topic)
	}
}
