package pipeline_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/queue"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// cpu is the processor time of the program so far: on a machine that does other work, too, the
// rates of one core are by it.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// real are the expressions and decoders that programs use.
func real(b *testing.B) pipeline.Options {
	b.Helper()
	x, err := cel.New(cel.Config{})
	if err != nil {
		b.Fatal(err)
	}
	return pipeline.Options{Expressions: x, Decoder: codec.New, Schema: codec.Schema}
}

func benchMachine(b *testing.B, spec string) (*pipeline.Machine, *int) {
	b.Helper()
	plan, err := pipeline.Compile(parse(b, spec), real(b))
	if err != nil {
		b.Fatal(err)
	}
	out := new(int)
	m, err := pipeline.NewMachine(plan, pipeline.MachineConfig{
		Sink: func(string, pipeline.Event) { *out++ },
		Dead: func(l pipeline.DeadLetter) { b.Fatal(l.Message) },
	})
	if err != nil {
		b.Fatal(err)
	}
	return m, out
}

const filterMap = ends + `
  steps:
  - {name: hot, filter: {expression: 'event.data.value > 20.0'}}
  - {name: shape, map: {set: {value: 'event.data.value * 1.8 + 32.0'}, drop: [raw]}}
`

// BenchmarkFilterMap pushes decoded events through a filter, which all pass, and a map.
func BenchmarkFilterMap(b *testing.B) {
	m, out := benchMachine(b, filterMap)
	events := make([]pipeline.Event, 1000)
	for i := range events {
		events[i] = pipeline.Event{ID: fmt.Sprint(i), Data: map[string]any{"device": "d1", "value": 21.5, "raw": int64(7)}}
	}
	now := time.Now()
	b.ReportAllocs()
	n, began := 0, cpu(b)
	for b.Loop() {
		m.Push(now, "in", events[n%1000])
		n++
	}
	if *out != n {
		b.Fatalf("%d of %d events came out", *out, n)
	}
	b.Logf("RESULT events_per_core %.0f events/s", float64(n)/(cpu(b)-began).Seconds())
}

// BenchmarkDecodeFilterMap is BenchmarkFilterMap with the decoding of JSON.
func BenchmarkDecodeFilterMap(b *testing.B) {
	m, out := benchMachine(b, filterMap)
	payload := []byte(`{"device":"d1","value":21.5,"raw":7}`)
	now := time.Now()
	b.ReportAllocs()
	n, began := 0, cpu(b)
	for b.Loop() {
		m.Push(now, "in", pipeline.Event{ID: "1", Data: payload})
		n++
	}
	if *out != n {
		b.Fatalf("%d of %d events came out", *out, n)
	}
	b.Logf("RESULT events_per_core_decoded %.0f events/s", float64(n)/(cpu(b)-began).Seconds())
}

// BenchmarkWindowKeys holds windows of 10,000 keys, each with ten events in the window.
func BenchmarkWindowKeys(b *testing.B) {
	m, out := benchMachine(b, ends+`
  steps:
  - {name: minute, window: {tumbling: 1m, key: event.data.device, lateness: 10s, aggregate: {avg: avg(event.data.value), max: max(event.data.value), count: count()}}}
`)
	const keys = 10_000
	devices := make([]string, keys)
	for i := range devices {
		devices[i] = fmt.Sprintf("device-%05d", i)
	}
	heap := func() float64 {
		runtime.GC()
		runtime.GC()
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return float64(s.HeapAlloc)
	}
	at := time.Unix(1_800_000_000, 0)
	before, n, began := heap(), 0, cpu(b)
	for b.Loop() {
		for range 10 {
			for _, d := range devices {
				m.Push(at, "in", pipeline.Event{ID: "1", Time: at, Data: map[string]any{"device": d, "value": 21.5}})
				n++
			}
			at = at.Add(time.Second)
		}
	}
	mib := (heap() - before) / (1 << 20)
	b.Logf("RESULT window_10000_keys %.1f MiB", mib)
	b.Logf("RESULT window_events_per_core %.0f events/s", float64(n)/(cpu(b)-began).Seconds())
	if mib > 16 {
		b.Errorf("%d keys need %.1f MiB: the limit is 16", keys, mib)
	}
	m.Advance(at.Add(time.Hour))
	if *out == 0 {
		b.Error("no window ended")
	}
}

// BenchmarkReplay runs whole pipelines on a store on disk: events wait for a sink that is
// away, and then are sent.
func BenchmarkReplay(b *testing.B) {
	dir, err := os.MkdirTemp("", "pipeline")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	store, err := badgerstore.Open(badgerstore.Config{Dir: dir})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	queues, err := queue.New(queue.Config{Store: store})
	if err != nil {
		b.Fatal(err)
	}
	const events = 100_000
	source := &pipelinetest.Source{}
	sink := &benchSink{up: make(chan struct{}), all: make(chan struct{}), want: events}
	r, err := pipeline.New(pipeline.Config{
		Options: real(b), Store: store, Queues: queues,
		Openers: pipelinetest.Ends{Sources: map[string]pipeline.Source{"in": source}, Sinks: map[string]pipeline.Sink{"out": sink}}.Openers(),
	})
	if err != nil {
		b.Fatal(err)
	}
	r.Apply([]*v1alpha1.Pipeline{parse(b, filterMap)})
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() { r.Run(ctx) })
	for b.Loop() {
		began := time.Now()
		for i := 0; i < events; i += 100 {
			var batch []pipeline.Event
			for j := range 100 {
				batch = append(batch, pipeline.Event{ID: fmt.Sprint(i + j), Data: map[string]any{"device": "d1", "value": 21.5, "raw": int64(7)}})
			}
			source.Emit(batch...)
		}
		if err := source.Wait(ctx, events); err != nil {
			b.Fatal(err)
		}
		b.Logf("RESULT durable_rate %.0f events/s", events/time.Since(began).Seconds())
		began = time.Now()
		close(sink.up)
		<-sink.all
		b.Logf("RESULT replay_rate %.0f events/s", events/time.Since(began).Seconds())
	}
}

// benchSink counts events while it is up.
type benchSink struct {
	up   chan struct{}
	have int
	want int
	all  chan struct{}
}

func (s *benchSink) Send(ctx context.Context, events []pipeline.Event) error {
	select {
	case <-s.up:
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.have += len(events); s.have == s.want {
		close(s.all)
	}
	return nil
}

func (s *benchSink) Close() error { return nil }
