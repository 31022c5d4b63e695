package mqtt_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
	"github.com/edgekit/edgekit/twin/mqtt"
)

// BenchmarkUpdate measures an MQTT client's update until its result is there,
// over loopback and durable, one at a time and with 32 under way.
func BenchmarkUpdate(b *testing.B) {
	for _, inflight := range []int{1, 32} {
		b.Run(fmt.Sprintf("inflight=%d", inflight), func(b *testing.B) { benchmark(b, inflight, diskStore(b)) })
	}
}

// measuredStore counts what the engine's commits cost.
type measuredStore struct {
	meta.Store
	unsynced bool // nothing is written
	commits  atomic.Int64
	took     atomic.Int64 // nanoseconds
}

func (s *measuredStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	if s.unsynced {
		return 1, nil
	}
	began := time.Now()
	defer func() {
		s.commits.Add(1)
		s.took.Add(int64(time.Since(began)))
	}()
	return s.Store.Apply(ctx, ops...)
}

// diskStore is a store on the disk.
func diskStore(b *testing.B) *measuredStore {
	store, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() }) // what it held is measured
	return &measuredStore{Store: store}
}

// TestMeasured prints what updates over MQTT cost when they are durable: make bench-twin. It
// also prints the same without the store, what a commit takes, and how many updates it has: the
// package comment says what follows from that.
func TestMeasured(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("set BENCH=1 to measure")
	}
	for _, inflight := range []int{1, 32} {
		t.Run(fmt.Sprint("program ", inflight), func(t *testing.T) { measureProgram(t, inflight) })
		for _, unsynced := range []bool{false, true} {
			r := testing.Benchmark(func(b *testing.B) {
				store := diskStore(b)
				store.unsynced = unsynced
				benchmark(b, inflight, store)
			})
			name := fmt.Sprintf("twin_mqtt_%d", inflight)
			if unsynced {
				name += "_unsynced"
			} else {
				t.Logf("RESULT %s_commit %.0f us", name, r.Extra["commit-us"])
				t.Logf("RESULT %s_per_commit %.1f updates", name, r.Extra["updates/commit"])
			}
			t.Logf("RESULT %s %.0f updates/s", name, r.Extra["updates/s"])
			t.Logf("RESULT %s_p99 %.1f ms", name, r.Extra["p99-ms"])
			t.Logf("RESULT %s_cpu %.0f us", name, r.Extra["cpu-us/op"]) // of an update, with the client's
		}
	}
}

// measureProgram prints what a client in a program of its own sees: TWINBENCH is the path of one
// that takes the flags below and prints its figures as JSON.
func measureProgram(t *testing.T, inflight int) {
	program := os.Getenv("TWINBENCH")
	if program == "" {
		return
	}
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() }) // what it held is measured
	out, err := exec.CommandContext(t.Context(), program, "-broker", startBench(t, store), "-device", "bench/d", "-property", "t", "-n", fmt.Sprint(2000*inflight), "-inflight", fmt.Sprint(inflight)).Output()
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Rate  float64 `json:"per_s"`
		Times struct {
			P99 float64 `json:"p99"`
		} `json:"ms"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	t.Logf("RESULT twin_mqtt_%d_program %.0f updates/s", inflight, got.Rate)
	t.Logf("RESULT twin_mqtt_%d_program_p99 %.1f ms", inflight, got.Times.P99)
}

// startBench runs a node with the device bench/d until the benchmark ends, and returns the URL of
// its broker.
func startBench(b testing.TB, store meta.Store) (url string) {
	engine, _ := twin.New(twin.Config{Store: store})
	inner, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	inside, _ := bus.New(bus.Config{Internal: inner})
	bridge, _ := mqtt.New(mqtt.Config{Engine: engine, Bus: inside, Node: "edge"})
	runBench(b, engine.Run, inside.Run, bridge.Run)
	<-inside.Ready()
	if err := engine.Put(b.Context(), "bench/d", twin.Put{}); err != nil {
		b.Fatal(err)
	}
	return "tcp://" + inner.Addr().String()
}

// runBench runs functions until the benchmark ends.
func runBench(b testing.TB, runs ...func(context.Context) error) {
	ctx, cancel := context.WithCancel(b.Context())
	var group sync.WaitGroup
	for _, run := range runs {
		group.Go(func() { _ = run(ctx) }) // an error shows at the client
	}
	b.Cleanup(func() {
		cancel()
		group.Wait()
	})
}

func benchmark(b *testing.B, inflight int, store *measuredStore) {
	outside, _ := client.New(client.Config{URL: startBench(b, store)})
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
	runBench(b, app.Run)
	<-app.Ready()
	i := 0
	store.commits.Store(0)
	store.took.Store(0)
	cpu := cpuTime()
	for b.Loop() {
		i++
		window <- time.Now()
		payload := fmt.Appendf(nil, `{"event_id":"%d","twin":{"t":{"actual":{"value":"%d"},"metadata":{"type":"int"}}}}`, i, i)
		if err := app.Publish(b.Context(), bus.Message{Topic: "$hw/events/device/bench/d/twin/update", Payload: payload, QoS: bus.AtLeastOnce}); err != nil {
			b.Fatal(err)
		}
	}
	for range inflight { // the last ones
		window <- time.Time{}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(i), "cpu-us/op")
	if n := store.commits.Load(); n > 0 {
		b.ReportMetric(float64(store.took.Load())/float64(n)/1000, "commit-us")
		b.ReportMetric(float64(i)/float64(n), "updates/commit")
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
