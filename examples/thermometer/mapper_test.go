package main

import (
	"context"
	"log/slog"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/topics"
)

// TestMapperRequestsItsProtocol has the mapper request the devices of its protocol only: a user
// of the broker whose rule names protocols may request no other list.
func TestMapperRequestsItsProtocol(t *testing.T) {
	inside, url := bustest.Broker(t)
	requested := make(chan string, 1)
	unsubscribe, err := inside.Subscribe(topics.Node("edge-7", "#"), func(_ context.Context, m bus.Message) {
		select {
		case requested <- m.Topic:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(t.Context())
	mapperEnded := make(chan error, 1)
	go func() {
		mapperEnded <- mapper(running, slog.New(slog.DiscardHandler), url, "edge-7", "", "")
	}()
	if got, want := <-requested, topics.Node("edge-7", topics.OfProtocol(protocol, topics.MembershipDetail)); got != want {
		t.Errorf("the first request is %s, want %s", got, want)
	}
	stop()
	if err := <-mapperEnded; err != nil {
		t.Errorf("mapper: %v", err)
	}
	unsubscribe()
}
