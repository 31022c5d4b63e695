package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// BenchmarkUpdate measures an MQTT client's update until its result is there,
// over loopback and durable, one at a time and with 32 under way.
func BenchmarkUpdate(b *testing.B) {
	for _, inflight := range []int{1, 32} {
		b.Run(fmt.Sprintf("inflight=%d", inflight), func(b *testing.B) { benchmark(b, inflight) })
	}
}

// TestMeasured prints what updates over MQTT cost when they are durable: make bench-twin.
func TestMeasured(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("set BENCH=1 to measure")
	}
	for _, inflight := range []int{1, 32} {
		r := testing.Benchmark(func(b *testing.B) { benchmark(b, inflight) })
		t.Logf("RESULT twin_mqtt_%d %.0f updates/s", inflight, r.Extra["updates/s"])
		t.Logf("RESULT twin_mqtt_%d_p99 %.1f ms", inflight, r.Extra["p99-ms"])
	}
}

func benchmark(b *testing.B, inflight int) {
	store, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	engine, _ := twin.New(twin.Config{Store: store})
	inner, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	inside, _ := bus.New(bus.Config{Internal: inner})
	bridge, _ := mqtt.New(mqtt.Config{Engine: engine, Bus: inside, Node: "edge"})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 4)
	start := func(run func(context.Context) error) { go func() { ended <- run(ctx) }() }
	start(engine.Run)
	start(inside.Run)
	start(bridge.Run)
	<-inside.Ready()
	if err := engine.Put(ctx, "bench/d", twin.Put{}); err != nil {
		b.Fatal(err)
	}
	outside, _ := client.New(client.Config{URL: "tcp://" + inner.Addr().String()})
	app, err := bus.New(bus.Config{Mode: bus.External, External: outside})
	if err != nil {
		b.Fatal(err)
	}
	window := make(chan time.Time, inflight) // when each update that is under way was sent
	var took []time.Duration                 // is read when all are back
	_, err = app.Subscribe("$hw/events/device/bench/d/twin/update/result", func(_ context.Context, m bus.Message) {
		var answer struct{ Code int }
		if json.Unmarshal(m.Payload, &answer) != nil || answer.Code != 0 {
			b.Errorf("%s", m.Payload)
		}
		took = append(took, time.Since(<-window)) // the answers are in order
	})
	if err != nil {
		b.Fatal(err)
	}
	start(app.Run)
	<-app.Ready()
	defer func() {
		cancel()
		for range 4 {
			<-ended
		}
	}()
	i := 0
	for b.Loop() {
		i++
		window <- time.Now()
		payload := fmt.Appendf(nil, `{"event_id":"%d","twin":{"t":{"actual":{"value":"%d"},"metadata":{"type":"int"}}}}`, i, i)
		if err := app.Publish(ctx, bus.Message{Topic: "$hw/events/device/bench/d/twin/update", Payload: payload, QoS: bus.AtLeastOnce}); err != nil {
			b.Fatal(err)
		}
	}
	for range inflight { // the last ones
		window <- time.Time{}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
