package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
)

// hanging is a transport whose broker does not answer.
type hanging struct{ *bustest.Transport }

func (h hanging) Publish(ctx context.Context, _ bus.Message) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestHangingOutside has an outside broker that hangs: the embedded one goes on.
func TestHangingOutside(t *testing.T) {
	inside := bustest.New()
	b, stop := run(t, bus.Config{Mode: bus.Both, Internal: inside, External: hanging{bustest.New()}, Queue: 10})
	got := make(chan string, 100)
	if _, err := b.Subscribe("a", func(_ context.Context, m bus.Message) { got <- string(m.Payload) }); err != nil {
		t.Fatal(err)
	}
	backlog := 0
	for i := range 1100 {
		err := b.Publish(t.Context(), bus.Message{Topic: "a", Payload: fmt.Append(nil, i)})
		if errors.Is(err, bus.ErrBacklog) {
			backlog++
		} else if err != nil {
			t.Fatal(err)
		}
		if m := <-got; m != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", m, i)
		}
	}
	if backlog < 70 || b.Stats().Dropped != int64(backlog) {
		t.Errorf("%d refused, %d dropped", backlog, b.Stats().Dropped)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestRequest(t *testing.T) {
	b, stop := run(t, bus.Config{Internal: bustest.New()})
	if _, err := b.Subscribe("double", func(ctx context.Context, m bus.Message) {
		for range 2 { // the second answer goes nowhere
			if err := b.Reply(ctx, m, bus.Message{Payload: append(m.Payload, m.Payload...)}); err != nil {
				t.Error(err)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		a, err := b.Request(t.Context(), bus.Message{Topic: "double", Payload: fmt.Append(nil, i), QoS: bus.AtLeastOnce})
		if want := fmt.Sprintf("%d%d", i, i); err != nil || want != string(a.Payload) {
			t.Errorf("%q, %v; want %s", a.Payload, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := b.Request(ctx, bus.Message{Topic: "nobody"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := b.Reply(t.Context(), bus.Message{}, bus.Message{}); !errors.Is(err, bus.ErrNoReply) {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
