package client_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// consumer runs Consume until enough messages have come, and acknowledges those that ack says.
func consumer(t *testing.T, cfg client.Config, filter string, want int, ack func(text string) bool) (got []string) {
	t.Helper()
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var acks []func()
	done := errors.New("enough")
	err = c.Consume(ctx, filter, bus.AtLeastOnce, func(_ context.Context, m bus.Message, f func()) error {
		got = append(got, string(m.Payload))
		if ack(string(m.Payload)) {
			acks = slices.Insert(acks, 0, f) // any order will do
		}
		if len(got) < want {
			return nil
		}
		for _, f := range acks {
			f()
		}
		// The acknowledgements must be on their way before the connection ends.
		flushed, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		defer stop()
		<-flushed.Done()
		return done
	})
	if want > 0 && !errors.Is(err, done) {
		t.Errorf("Consume: %v, %d of %d messages came", err, len(got), want)
	}
	return got
}

// TestConsume: over a unix socket, what was not acknowledged comes again to the next client with
// the same identifier, and also what was published meanwhile; EndSession ends that.
func TestConsume(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "mqtt.sock")
	b, err := broker.New(broker.Config{Address: socket})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-b.Ready()
	cfg := client.Config{URL: socket, ClientID: "edgepipe/a/b/c", SessionExpiry: time.Hour}
	publish := func(from, to int) {
		for i := from; i <= to; i++ {
			if err := b.Publish(ctx, bus.Message{Topic: "x/y", Payload: fmt.Append(nil, i), QoS: bus.AtLeastOnce}); err != nil {
				t.Fatal(err)
			}
		}
	}
	// The session begins with the subscription.
	begun, stop := context.WithCancel(ctx)
	c, err := client.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-c.Ready()
		stop()
	}()
	if err := c.Consume(begun, "x/+", bus.AtLeastOnce, func(context.Context, bus.Message, func()) error { return nil }); err != nil {
		t.Fatal(err)
	}
	publish(1, 3)
	if got := consumer(t, cfg, "x/+", 3, func(text string) bool { return text != "2" }); fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("first: %v", got)
	}
	publish(4, 4)
	// Acknowledgements are sent in the order of the messages, so 3 was not acknowledged either.
	if got := consumer(t, cfg, "x/+", 3, func(string) bool { return true }); fmt.Sprint(got) != "[2 3 4]" {
		t.Errorf("after a restart: %v", got)
	}
	publish(5, 5)
	if err := client.EndSession(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	// The broker sees the end of the connection a moment later.
	hubtest.Until(t, "the session ends", func() bool { return b.Stats().Sessions == 0 })
}

// TestConsumeAlone: a client has other subscriptions or Consume.
func TestConsumeAlone(t *testing.T) {
	c, err := client.New(client.Config{URL: "unix:///nonexistent"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Subscribe("a", func(bus.Message) {}); err != nil {
		t.Fatal(err)
	}
	if err := c.Consume(t.Context(), "a", 0, func(context.Context, bus.Message, func()) error { return nil }); err == nil {
		t.Error("both are accepted")
	}
	if _, err := client.New(client.Config{URL: "unix://host"}); err == nil {
		t.Error("a socket without path is accepted")
	}
}

// noReaders is an Access of a broker whose clients may not subscribe.
type noReaders struct{}

func (noReaders) Authenticate(context.Context, broker.Login) (broker.User, error) {
	return broker.User{Name: "anyone"}, nil
}

func (noReaders) Allow(_ broker.User, _ string, action broker.Action) bool {
	return action != broker.ActionSubscribe
}

// TestConsumeRefused: a subscription that the broker refuses ends Consume, which would otherwise wait
// for messages for ever.
func TestConsumeRefused(t *testing.T) {
	socket := "unix://" + filepath.Join(t.TempDir(), "mqtt.sock")
	b, err := broker.New(broker.Config{Address: socket, Access: noReaders{}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	<-b.Ready()
	c, err := client.New(client.Config{URL: socket, ClientID: "edgepipe/a/b/c"})
	if err != nil {
		t.Fatal(err)
	}
	limited, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	err = c.Consume(limited, "x/+", bus.AtLeastOnce, func(context.Context, bus.Message, func()) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "x/+") {
		t.Errorf("Consume of a filter that may not be read: %v", err)
	}
}

// noWriters is an Access of a broker whose clients may not publish.
type noWriters struct{ noReaders }

func (noWriters) Allow(_ broker.User, _ string, action broker.Action) bool {
	return action != broker.ActionPublish
}

// TestPublishWait: PublishWait returns nil for a message that the broker has, and an error for one that it refuses.
func TestPublishWait(t *testing.T) {
	for name, access := range map[string]broker.Access{"refused": noWriters{}, "taken": noReaders{}} {
		t.Run(name, func(t *testing.T) {
			socket := "unix://" + filepath.Join(t.TempDir(), "mqtt.sock")
			b, err := broker.New(broker.Config{Address: socket, Access: access})
			if err != nil {
				t.Fatal(err)
			}
			c, err := client.New(client.Config{URL: socket, ClientID: "one"})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			go func() { ended <- b.Run(ctx) }()
			<-b.Ready()
			go func() { ended <- c.Run(ctx) }()
			defer func() {
				cancel()
				for range 2 {
					if err := <-ended; err != nil {
						t.Error(err)
					}
				}
			}()
			<-c.Ready()
			limited, stop := context.WithTimeout(ctx, 20*time.Second)
			defer stop()
			err = c.PublishWait(limited, bus.Message{Topic: "a/b", QoS: bus.AtLeastOnce})
			refused, ok := errors.AsType[*client.RefusedError](err)
			if want := name == "refused"; want != ok || !want && err != nil || ok && refused.Code != 0x87 {
				t.Errorf("%v", err)
			}
		})
	}
}
