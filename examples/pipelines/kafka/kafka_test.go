package kafka

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/bustest"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/extra"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/examples/pipelines/internal/library"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestTopic runs pipeline.yaml: what changed by half a degree is in the topic, in the order of each device.
func TestTopic(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(4, "plant-temps"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	text, err := os.ReadFile("pipeline.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := pipeline.ParseYAML(text)
	if err != nil {
		t.Fatal(err)
	}
	all[0].Spec.Sinks[0].Kafka.Brokers = cluster.ListenAddrs()
	inside, broker := bustest.Broker(t)
	done := make(chan error, 1)
	go func() {
		done <- library.Run(ctx, library.Config{Broker: broker, Dir: t.TempDir(), Pipelines: all, Sinks: extra.Open(sinks.Open)})
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	consumer, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...), kgo.ConsumeTopics("plant-temps"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	type reading struct {
		Device string
		Value  float64
	}
	publish := func(device string, value float64) {
		t.Helper()
		body := fmt.Sprintf(`{"device":%q,"value":%v}`, device, value)
		if err := inside.Publish(ctx, bus.Message{Topic: "plant/" + device + "/temp", Payload: []byte(body), QoS: bus.AtLeastOnce}); err != nil {
			t.Fatal(err)
		}
	}
	// next is the next record.
	var waiting []*kgo.Record
	next := func(within time.Duration) (r reading, ok bool) {
		t.Helper()
		if len(waiting) == 0 {
			poll, stop := context.WithTimeout(ctx, within)
			defer stop()
			waiting = consumer.PollFetches(poll).Records()
		}
		if len(waiting) == 0 {
			return r, false
		}
		record := waiting[0]
		waiting = waiting[1:]
		var event struct{ Data reading } // a CloudEvent
		if err := json.Unmarshal(record.Value, &event); err != nil || string(record.Key) != event.Data.Device {
			t.Fatalf("key %s: %s: %v", record.Key, record.Value, err)
		}
		return event.Data, true
	}
	for begun := false; !begun; { // until the source has subscribed
		publish("ready", 1)
		_, begun = next(200 * time.Millisecond)
		if ctx.Err() != nil {
			t.Fatal("nothing came into the topic")
		}
	}
	for i := range 50 {
		publish("d1", float64(i))     // each is a change
		publish("d2", float64(i)*0.1) // each fifth is
	}
	d1, d2 := 0.0, 0.0
	for range 60 {
		r, ok := next(30 * time.Second)
		switch {
		case !ok:
			t.Fatalf("nothing after d1 %v and d2 %v", d1, d2)
		case r.Device == "d1" && r.Value == d1:
			d1++
		case r.Device == "d2" && r.Value >= d2 && r.Value < d2+0.6:
			d2 = r.Value + 0.5
		default:
			t.Errorf("%+v after d1 %v and d2 %v", r, d1, d2)
		}
	}
}
