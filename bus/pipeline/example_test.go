package pipeline_test

import (
	"context"
	"fmt"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta/memstore"
)

// thermometer is a source of the gateway's own.
type thermometer struct{}

func (thermometer) Run(ctx context.Context, emit pipeline.Emit) error {
	for i, celsius := range []float64{19, 21, 35} {
		e := pipeline.Event{ID: fmt.Sprint(i), Subject: "kitchen", Data: map[string]any{"celsius": celsius}}
		if err := emit(ctx, []pipeline.Event{e}, nil); err != nil {
			return nil
		}
	}
	<-ctx.Done()
	return nil
}

// printer is a sink of the gateway's own, and ends the program after the first event.
type printer struct{ stop context.CancelFunc }

func (p printer) Send(_ context.Context, events []pipeline.Event) error {
	for _, e := range events {
		fmt.Println(e.Subject, e.Data)
	}
	p.stop()
	return nil
}

func (p printer) Close() error { return nil }

// A gateway without Kubernetes runs a pipeline between a source and a sink of its own. Real
// programs use bus/pipeline/cel for Expressions, bus/pipeline/queue for Queues, and a
// meta/badgerstore, so that nothing is lost at a kill.
func Example() {
	pipelines, err := pipeline.ParseYAML([]byte(`
apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: too-warm}
spec:
  sources:
  - {name: thermometer, twin: {properties: [celsius]}}
  steps:
  - {name: warm, filter: {expression: event.data.celsius > 30}}
  - {name: us, map: {set: {fahrenheit: event.data.celsius * 1.8 + 32}, drop: [celsius]}}
  sinks:
  - {name: screen, mqtt: {topic: alarms}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	store := memstore.New()
	defer store.Close()
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	r, err := pipeline.New(pipeline.Config{
		Options: pipeline.Options{Expressions: pipelinetest.Expressions{}},
		Openers: pipeline.Openers{
			Source: func(*v1alpha1.Source, pipeline.Env) (pipeline.Source, error) { return thermometer{}, nil },
			Sink:   func(*v1alpha1.Sink, pipeline.Env) (pipeline.Sink, error) { return printer{stop}, nil },
		},
		Queues: &pipelinetest.Queues{},
		Store:  store,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	r.Apply(pipelines)
	if err := r.Run(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: kitchen map[fahrenheit:95]
}

// A Machine is a pipeline in virtual time.
func ExampleMachine() {
	pipelines, err := pipeline.ParseYAML([]byte(`
apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: minutes}
spec:
  sources:
  - {name: temps, mqtt: {topic: plant/+/temp}}
  steps:
  - {name: minute, window: {tumbling: 1m, lateness: 5s, key: event.subject, aggregate: {avg: avg(event.data.value)}}}
  sinks:
  - {name: up, cloud: {url: "https://example.com/in"}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := pipeline.Compile(pipelines[0], pipeline.Options{Expressions: pipelinetest.Expressions{}})
	if err != nil {
		fmt.Println(err)
		return
	}
	begin := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	now := begin
	m, err := pipeline.NewMachine(plan, pipeline.MachineConfig{
		Sink: func(sink string, e pipeline.Event) {
			fmt.Println(now.Sub(begin), sink, e.ID, e.Data.(map[string]any)["avg"])
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 3 {
		now = begin.Add(time.Duration(i) * 25 * time.Second)
		m.Push(now, "temps", pipeline.Event{Subject: "plant/a/temp", Data: []byte(fmt.Sprintf(`{"value":%d}`, 20+i))})
	}
	for next, ok := m.Next(); ok && next.Sub(begin) < time.Hour; next, ok = m.Next() {
		now = next
		m.Advance(now)
	}
	// Output: 1m5s up minutes/minute/plant/a/temp/1796040000000 21
}

// All that is wrong with a Pipeline is said at once.
func ExampleCompile() {
	pipelines, err := pipeline.ParseYAML([]byte(`
apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: wrong}
spec:
  sources:
  - {name: temps, mqtt: {topic: plant/+/temp}}
  steps:
  - {name: hot, filter: {expression: event.dta.value > 80}}
  - {name: slow, from: [nobody], rateLimit: {events: 1, per: 0s}}
  sinks:
  - {name: up, from: [hot, slow], cloud: {url: "https://example.com/in"}}
`))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = pipeline.Compile(pipelines[0], pipeline.Options{Expressions: pipelinetest.Expressions{}})
	fmt.Println(err)
	// Output:
	// hot: spec.steps[0].filter.expression: column 17: event has no field "dta"
	// slow: spec.steps[1].rateLimit.per: is 0s: it needs 1ms to 8784h0m0s
	// slow: spec.steps[1].from[0]: there is no source and no step "nobody"
}
