package mqtt_test

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// direct is a transport with no broker behind it: what is measured is the twin's part of an
// update over MQTT.
type direct struct {
	ready   chan struct{}
	update  func(bus.Message) // the subscription to requests
	results chan struct{}
}

func (d *direct) Run(ctx context.Context) error {
	close(d.ready)
	<-ctx.Done()
	return nil
}

func (d *direct) Ready() <-chan struct{} { return d.ready }

func (d *direct) Publish(_ context.Context, m bus.Message) error {
	if strings.HasSuffix(m.Topic, "/update/result") {
		d.results <- struct{}{}
	}
	return nil
}

func (d *direct) Subscribe(filter string, deliver func(bus.Message)) (func(), error) {
	if filter == "$hw/events/device/+/+/twin/+" {
		d.update = deliver
	}
	return func() {}, nil
}

// BenchmarkBridge measures the processor time of an update without a broker: decode, engine,
// store, encode, with 32 under way.
func BenchmarkBridge(b *testing.B) {
	store, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	engine, _ := twin.New(twin.Config{Store: store})
	transport := &direct{ready: make(chan struct{}), results: make(chan struct{}, 64)}
	inside, err := bus.New(bus.Config{Internal: transport})
	if err != nil {
		b.Fatal(err)
	}
	bridge, _ := mqtt.New(mqtt.Config{Engine: engine, Bus: inside, Node: "edge"})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 3)
	for _, run := range []func(context.Context) error{engine.Run, inside.Run, bridge.Run} {
		go func() { ended <- run(ctx) }()
	}
	defer func() {
		cancel()
		for range 3 {
			<-ended
		}
	}()
	<-inside.Ready()
	put := twin.Put{Properties: []twin.Declaration{{Name: "t", Type: "int"}}}
	if err := engine.Put(ctx, "bench/d", put); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i, cpu := 0, cpuTime()
	for b.Loop() {
		if i++; i > 32 {
			<-transport.results
		}
		payload := fmt.Appendf(nil, `{"event_id":"e1234-%d","timestamp":1760000000000,"twin":{"t":{"actual":{"value":"%d"},"metadata":{"type":"int"}}}}`, i, i)
		transport.update(bus.Message{Topic: "$hw/events/device/bench/d/twin/update", Payload: payload, QoS: bus.AtLeastOnce})
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(i), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// cpuTime is the processor time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
