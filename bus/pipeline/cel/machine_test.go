package cel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
)

const machineSpec = `
apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: exceptions, namespace: plant}
spec:
  nodeName: edge-7
  tables:
  - {name: limits, key: device, rows: [{device: d1, max: 80}, {device: d2, max: 90}]}
  sources:
  - name: temps
    mqtt: {topic: plant/+/temp}
    decode: {format: json}
    time: event.data.at
  steps:
  - {name: checked, schema: {json: '{"required": ["device", "value"], "properties": {"value": {"type": "number"}}}'}}
  - {name: known, enrich: {table: {name: limits, key: event.data.device, as: limit}}}
  - {name: hot, filter: {expression: "event.data.value > event.data.limit.max"}}
  - {name: shape, map: {set: {fahrenheit: "event.data.value * 1.8 + 32"}, drop: [limit, at]}}
  - {name: minute, window: {tumbling: 1m, key: event.data.device, aggregate: {avg: "avg(event.data.value)", count: "count()"}}}
  - {name: named, map: {set: {text: "'%s: %.1f'.format([event.data.key, double(event.data.avg)])"}}}
  sinks:
  - name: raw
    from: [shape]
    mqtt: {topic: "hot/{event.data.device}"}
  - name: up
    from: [named]
    mqtt: {topic: minutes}
`

func compileSpec(t testing.TB, text string) *pipeline.Plan {
	t.Helper()
	specs, err := pipeline.ParseYAML([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	x, err := cel.New(cel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	plan, err := pipeline.Compile(specs[0], pipeline.Options{Expressions: x, Decoder: codec.New, Schema: codec.Schema})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestMachine runs a pipeline with all that this package and codec do for it.
func TestMachine(t *testing.T) {
	var out []string
	m, err := pipeline.NewMachine(compileSpec(t, machineSpec), pipeline.MachineConfig{
		Sink: func(sink string, e pipeline.Event) {
			data, err := codec.AppendJSON(nil, e.Data)
			if err != nil {
				t.Error(err)
			}
			out = append(out, sink+" "+string(data))
		},
		Dead: func(l pipeline.DeadLetter) { out = append(out, "dead "+l.Step+" "+l.Message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range []string{
		`{"device":"d1","value":80.5,"at":"2026-11-30T14:00:01Z"}`, `{"device":"d1","value":81,"at":"2026-11-30T14:00:02Z"}`, `{"device":"d2","value":81,"at":"2026-11-30T14:00:03Z"}`,
		`{"device":"d1","at":"2026-11-30T14:00:04Z"}`, `{"device":"d3","value":1,"at":"2026-11-30T14:00:05Z"}`, `{`, `{"value":1}`,
	} {
		m.Push(at.Add(time.Duration(i)*time.Second), "temps", pipeline.Event{ID: fmt.Sprint(i), Source: "s", Type: "t", Data: []byte(p)})
	}
	m.Advance(at.Add(2 * time.Minute))
	want := []string{
		`raw {"device":"d1","fahrenheit":176.9,"value":80.5}`,
		`raw {"device":"d1","fahrenheit":177.8,"value":81}`,
		`dead checked the data: missing property 'value'`,
		`dead hot column 36: no such key: max`,
		`dead temps codec: json at byte 1: a field's name in quotes should be here`,
		`dead temps time: column 11: no such key: at`,
		`up {"avg":80.75,"count":2,"key":"d1","text":"d1: 80.8","window":{"end":"2026-11-30T14:01:00Z","start":"2026-11-30T14:00:00Z"}}`,
	}
	if !slices.Equal(out, want) {
		t.Errorf("%s\nwant %s", strings.Join(out, "\n"), strings.Join(want, "\n"))
	}
}

// BenchmarkMachine is events through a filter and a map on one core, without and with decoding.
func BenchmarkMachine(b *testing.B) {
	plan := compileSpec(b, `
apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: a, namespace: b}
spec:
  nodeName: n
  sources: [{name: in, mqtt: {topic: a}}]
  steps:
  - {name: hot, filter: {expression: "event.data.value > 80.0"}}
  - {name: shape, map: {set: {fahrenheit: "event.data.value * 1.8 + 32.0"}}}
  sinks: [{name: out, mqtt: {topic: b}}]
`)
	raw := []byte(`{"device":"press-17","value":80.53,"unit":"Cel","at":"2026-11-30T14:00:00Z","ok":true,"seq":123456}`)
	for name, data := range map[string]any{"decoded": map[string]any{"device": "press-17", "value": 80.53, "unit": "Cel", "ok": true, "seq": 123456.0}, "json": raw} {
		b.Run(name, func(b *testing.B) {
			sent := 0
			m, err := pipeline.NewMachine(plan, pipeline.MachineConfig{Sink: func(string, pipeline.Event) { sent++ }, Dead: func(l pipeline.DeadLetter) { b.Fatal(l.Message) }})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				m.Push(at, "in", pipeline.Event{ID: "1", Source: "s", Type: "t", Data: data})
			}
			if sent == 0 {
				b.Error("nothing was sent")
			}
		})
	}
}
