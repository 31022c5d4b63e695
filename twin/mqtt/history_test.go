package mqtt_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/history"
)

// slowStore is a store that reads single records only when it may.
type slowStore struct {
	meta.Store
	reads chan struct{} // a read has begun
	open  chan struct{} // closed when reads may end
}

func (s *slowStore) Get(ctx context.Context, key string) (meta.Record, error) {
	select {
	case s.reads <- struct{}{}:
	default: // the test waits for one
	}
	select {
	case <-s.open:
	case <-ctx.Done():
		return meta.Record{}, ctx.Err()
	}
	return s.Store.Get(ctx, key)
}

// TestSlowHistory has the disk hang while past values are read: updates are answered
// meanwhile, requests for past values beyond the bound are refused, and the others are answered
// in the end.
func TestSlowHistory(t *testing.T) {
	store := memstore.New()
	ctx, cancel := context.WithCancel(t.Context())
	engine, err := twin.New(twin.Config{Store: store})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx) }()
	put := twin.Put{Properties: []twin.Declaration{{Name: "t", Rule: twin.Rule{History: history.Limit{Values: 10}}}}}
	if err := engine.Put(t.Context(), "plant/boiler", put); err != nil {
		t.Fatal(err)
	}
	if err := engine.Report(t.Context(), twin.Values{Device: "plant/boiler", Values: map[string]string{"t": "1"}}); err != nil {
		t.Fatal(err)
	}
	cancel() // the history is written
	if err := <-ended; err != nil {
		t.Fatal(err)
	}

	slow := &slowStore{Store: store, reads: make(chan struct{}, 1), open: make(chan struct{})}
	n := startWith(t, slow, time.Now)
	n.want(t, "$hw/events/node/node/membership/detail/result", "plant/boiler")
	publish := func(topic, payload string) {
		t.Helper()
		if err := n.bus.Publish(t.Context(), bus.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
			t.Fatal(err)
		}
	}
	publish(boiler+"twin/history", `{"event_id":"h-0"}`)
	<-slow.reads // it is under way
	const more = 40
	for i := range more {
		publish(boiler+"twin/history", fmt.Sprintf(`{"event_id":"h-%d"}`, i+1))
	}
	publish(boiler+"twin/update", `{"event_id":"u","twin":{"t":{"actual":{"value":"2"}}}}`)
	refused, answered := 0, 0
	until := func(done func() bool) {
		t.Helper()
		for !done() {
			select {
			case m := <-n.got:
				switch {
				case m.Topic == boiler+"twin/history/result" && strings.Contains(string(m.Payload), `"code":503`):
					refused++
				case m.Topic == boiler+"twin/history/result":
					answered++
				}
				if m.Topic == boiler+"twin/update/result" && answered > 0 {
					t.Error("the update waited for the past values")
				}
			case <-time.After(time.Minute):
				t.Fatalf("%d refused, %d answered", refused, answered)
			}
		}
	}
	until(func() bool { return refused == more-16 })
	close(slow.open)
	until(func() bool { return refused+answered == more+1 })
}
