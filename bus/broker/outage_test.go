package broker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/bustest"
)

// outsideBroker is a connection to an outside broker that can be away. It sends what it was given
// meanwhile when it is back, as bus/client does.
type outsideBroker struct {
	*bustest.Transport
	got *[]string // what the broker has, over restarts of the program

	mu      sync.Mutex
	away    bool
	unacked []func()
}

func (o *outsideBroker) PublishConfirm(_ context.Context, m bus.Message, done func()) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	send := func() {
		*o.got = append(*o.got, string(m.Payload))
		done()
	}
	if o.away {
		o.unacked = append(o.unacked, send)
		return nil
	}
	send()
	return nil
}

func (o *outsideBroker) SubscribeIncoming(string, func(bus.Message)) (func(), error) {
	return func() {}, nil
}

func (o *outsideBroker) setAway(away bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.away = away
	for !away && len(o.unacked) > 0 {
		o.unacked[0]()
		o.unacked = o.unacked[1:]
	}
}

// TestOutsideAway has the outside broker away for an hour, with a message each second and a restart
// of the program from its disk half way. What is within the bound arrives once and in order; what
// is beyond is counted; what comes later passes.
func TestOutsideAway(t *testing.T) {
	for _, mode := range []bus.Mode{bus.External, bus.Both} {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { outsideAway(t, mode) })
		})
	}
}

func outsideAway(t *testing.T, mode bus.Mode) {
	const before, hour, bound = 10, 3600, 3000
	var got []string
	start := func(d *disk, away bool) (mqtt *bus.Bus, kept *broker.Broker, outside *outsideBroker, stop func()) {
		kept, err := broker.New(broker.Config{NoListen: true, Storage: d, MaxQueue: bound})
		if err != nil {
			t.Fatal(err)
		}
		outside = &outsideBroker{Transport: bustest.New(), got: &got, away: away}
		cfg := bus.Config{Mode: mode, External: outside, Internal: kept}
		if mode == bus.External {
			cfg.Internal, cfg.Outbox = nil, kept
		}
		if mqtt, err = bus.New(cfg); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- mqtt.Run(ctx) }()
		<-mqtt.Ready()
		return mqtt, kept, outside, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	d := &disk{}
	mqtt, _, outside, stop := start(d, false)
	next := 0
	publish := func(n int) {
		t.Helper()
		for range n {
			if err := mqtt.Publish(t.Context(), bus.Message{Topic: "t", Payload: fmt.Append(nil, next), QoS: bus.AtLeastOnce}); err != nil {
				t.Fatal(err)
			}
			next++
			time.Sleep(time.Second)
		}
	}
	publish(before)
	outside.setAway(true)
	publish(hour / 2)
	left := d.copy() // the program is killed
	stop()
	mqtt, kept, outside, stop := start(left, true)
	publish(hour / 2)
	if s := kept.Stats(); s.Outside != bound || s.Dropped != hour-bound || s.Bounds["outside"] != hour-bound {
		t.Errorf("%d wait, %d are dropped, %d of them at the bound", s.Outside, s.Dropped, s.Bounds["outside"])
	}
	outside.setAway(false)
	synctest.Wait()
	publish(before)
	stop()
	want := before + bound + before
	if len(got) != want {
		t.Fatalf("%d messages arrived, want %d", len(got), want)
	}
	for i, m := range got {
		n := i
		if i >= before+bound {
			n += hour - bound
		}
		if m != fmt.Sprint(n) {
			t.Fatalf("message %d is %s, want %d", i, m, n)
		}
	}
}
