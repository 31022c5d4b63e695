package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

var start = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) // never changed

// bench is a Machine whose outputs are lines of text: "SINK ID DATA", and "dead STEP REASON MESSAGE".
type bench struct {
	*pipeline.Machine
	lines []string
	trace []string
}

func newBench(t testing.TB, spec string, twins pipeline.Twins) *bench {
	t.Helper()
	b := &bench{}
	m, err := pipeline.NewMachine(compile(t, spec), pipeline.MachineConfig{
		Twins: twins,
		Sink: func(sink string, e pipeline.Event) {
			raw, err := json.Marshal(e.Data)
			if err != nil {
				t.Error(err)
			}
			b.lines = append(b.lines, fmt.Sprintf("%s %s %s", sink, e.ID, raw))
		},
		Dead: func(l pipeline.DeadLetter) {
			b.lines = append(b.lines, fmt.Sprintf("dead %s %s %s", l.Step, l.Reason, l.Message))
		},
		Trace: func(step string, e pipeline.Event) { b.trace = append(b.trace, step) },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Machine = m
	return b
}

// push pushes payloads of JSON, numbered from 1, at seconds after start.
func (b *bench) push(at float64, payloads ...string) {
	for _, p := range payloads {
		n := 0
		for _, s := range b.Stats() {
			n = max(n, int(s.In))
		}
		b.Push(start.Add(time.Duration(at*1e9)), "in", pipeline.Event{ID: fmt.Sprint(n + 1), Data: []byte(p)})
	}
}

func TestSteps(t *testing.T) {
	twins := &pipelinetest.Twins{}
	twins.Report(pipeline.TwinValue{Device: "d1", Property: "mode", Value: "auto"})
	for _, c := range []struct {
		name, spec string
		run        func(b *bench)
		want       []string
	}{
		{"filter", "  steps: [{name: s, filter: {expression: event.data.v > 80}}]", func(b *bench) {
			b.push(0, `{"v":81}`, `{"v":80}`, `{"v":"x"}`, `{"w":1}`, `{`)
		}, []string{
			`out 1 {"v":81}`, "dead s ExpressionFailed > cannot be used with x and 80", "dead s ExpressionFailed no such key: v",
			"dead in DecodeFailed JSON: unexpected EOF",
		}},
		{"map", "  steps: [{name: s, map: {set: {f: event.data.v * 2 + 1, old: event.data.v}, drop: [v]}}]", func(b *bench) {
			b.push(0, `{"v":1,"w":2}`, `[1]`)
		}, []string{`out 1 {"f":3,"old":1,"w":2}`, `dead s ExpressionFailed set and drop need data that are an object, not a list`}},
		{"map data", "  steps: [{name: s, map: {data: event.data.v, type: '\"t\"', subject: event.id}}]", func(b *bench) {
			b.push(0, `{"v":{"a":1}}`, `{"v":5}`)
		}, []string{`out 1 {"a":1}`, `out 2 5`}},
		{"enrich", "  tables: [{name: t, key: d, rows: [{d: d1, max: 80}, {d: 2, max: 70}]}]\n  steps: [{name: s, enrich: {table: {name: t, key: event.data.d, as: limit}}}, {name: u, enrich: {twin: {device: 'event.data.d', property: mode, as: mode}}}]", func(b *bench) {
			b.push(0, `{"d":"d1"}`, `{"d":2}`, `{"d":"d3"}`)
		}, []string{
			`out 1 {"d":"d1","limit":{"d":"d1","max":80},"mode":"auto"}`, "dead u ExpressionFailed device: the result is 2, not a string",
			`out 3 {"d":"d3","limit":null,"mode":null}`,
		}},
		{"tumbling", "  steps: [{name: m, window: {tumbling: 1m, key: event.data.d, lateness: 10s, aggregate: {avg: avg(event.data.v), c: count(), last: last(event.data.v)}}}]", func(b *bench) {
			b.push(0, `{"d":"a","v":1}`, `{"d":"b","v":10}`)
			b.push(30, `{"d":"a","v":3}`, `{"d":"a","v":"x"}`)
			b.Advance(start.Add(69 * time.Second))
			b.lines = append(b.lines, "69s")
			b.Advance(start.Add(71 * time.Second))
		}, []string{
			`dead m ExpressionFailed aggregate["avg"]: the result is x, not a number`, "69s",
			`out plant/p/m/a/1796040000000 {"avg":2,"c":2,"key":"a","last":3,"window":{"end":"2026-11-30T12:01:00Z","start":"2026-11-30T12:00:00Z"}}`,
			`out plant/p/m/b/1796040000000 {"avg":10,"c":1,"key":"b","last":10,"window":{"end":"2026-11-30T12:01:00Z","start":"2026-11-30T12:00:00Z"}}`,
		}},
		{"state window", "  steps: [{name: m, window: {state: {start: event.data.on, end: '!event.data.on'}, aggregate: {c: count(), all: collect(event.data.on)}}}]", func(b *bench) {
			b.push(0, `{"on":false}`, `{"on":true}`)
			b.push(1, `{"on":true}`)
			b.push(2, `{"on":false}`)
		}, []string{`out plant/p/m//2 {"all":[true,true,false],"c":3,"key":"","window":{"end":"2026-11-30T12:00:02Z","start":"2026-11-30T12:00:00Z"}}`}},
		{"dedupe", "  steps: [{name: s, dedupe: {key: event.data.k, within: 10s, maxKeys: 2}}]", func(b *bench) {
			b.push(0, `{"k":1}`, `{"k":1}`)
			b.push(9, `{"k":1}`)
			b.push(10, `{"k":1}`)
			b.push(11, `{"k":2}`, `{"k":3}`, `{"k":3}`, `{"k":1}`) // 1 was forgotten for 3
		}, []string{`out 1 {"k":1}`, `out 4 {"k":1}`, `out 5 {"k":2}`, `out 6 {"k":3}`, `out 8 {"k":1}`}},
		{"rate limit", "  steps: [{name: s, rateLimit: {events: 2, per: 1s, key: event.data.k}}]", func(b *bench) {
			b.push(0, `{"k":1}`, `{"k":1}`, `{"k":1}`, `{"k":2}`)
			b.push(1, `{"k":1}`)
		}, []string{`out 1 {"k":1}`, `out 2 {"k":1}`, `out 4 {"k":2}`, `out 5 {"k":1}`}},
		{"on change", "  steps: [{name: s, onChange: {key: event.data.d, value: event.data.v, deadBand: '0.5', atLeastEvery: 1h}}]", func(b *bench) {
			b.push(0, `{"d":1,"v":10}`, `{"d":1,"v":10.4}`, `{"d":1,"v":10.5}`, `{"d":1,"v":10.1}`, `{"d":1,"v":"off"}`, `{"d":1,"v":"off"}`)
			b.push(3600, `{"d":1,"v":"off"}`)
		}, []string{`out 1 {"d":1,"v":10}`, `out 3 {"d":1,"v":10.5}`, `out 5 {"d":1,"v":"off"}`, `out 7 {"d":1,"v":"off"}`}},
		{"on change of all", "  steps: [{name: s, onChange: {}}]", func(b *bench) {
			b.push(0, `{"a":1,"b":2}`, `{"b":2,"a":1}`, `{"a":1}`)
		}, []string{`out 1 {"a":1,"b":2}`, `out 3 {"a":1}`}},
		{"schema", "  steps: [{name: s, schema: {json: '{}'}}]", func(b *bench) {
			b.push(0, `{"good":1}`, `{"bad":1}`)
		}, []string{`out 1 {"good":1}`, "dead s SchemaFailed bad is not allowed"}},
		{"schema that drops", "  steps: [{name: s, schema: {json: '{}', onFailure: drop}}]", func(b *bench) {
			b.push(0, `{"good":1}`, `{"bad":1}`)
		}, []string{`out 1 {"good":1}`}},
		{"two ways have two ids", "  steps: [{name: a, from: [in], filter: {expression: 'true'}}, {name: b, from: [in], map: {set: {x: event.id}}}, {name: c, from: [in, a, b], filter: {expression: 'true'}}]", func(b *bench) {
			b.push(0, `{}`)
		}, []string{`out 1#a {}`, `out 1#b {"x":"1"}`, `out 1 {}`}},
		{"too large", "", func(b *bench) {
			b.push(0, `"`+strings.Repeat("x", pipeline.MaxEvent)+`"`)
			b.Push(start, "in", pipeline.Event{ID: "2", Data: strings.Repeat("x", pipeline.MaxEvent)})
		}, []string{
			"dead in EventTooLarge the payload has 1048578 bytes, over the limit of 1048576",
			"dead in EventTooLarge the event has about 1048743 bytes, over the limit of 1048576, or is too deep",
		}},
		{"too deep", "", func(b *bench) { b.push(0, strings.Repeat("[", 100)+strings.Repeat("]", 100)) }, []string{
			"dead in EventTooLarge the event has about 1048937 bytes, over the limit of 1048576, or is too deep",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t, ends+c.spec, twins)
			c.run(b)
			if have, want := strings.Join(b.lines, "\n"), strings.Join(c.want, "\n"); have != want {
				t.Errorf("have\n%s\nwant\n%s", have, want)
			}
		})
	}
}

func TestEventTime(t *testing.T) {
	b := newBench(t, `
  sources: [{name: in, mqtt: {topic: a}, time: event.data.at, decode: {format: json, each: true}}]
  sinks: [{name: out, file: {path: x}}]
  steps: [{name: m, window: {tumbling: 1m, key: '""', aggregate: {c: count()}}}]
`, nil)
	b.push(0, `[{"at":0},{"at":"1970-01-01T00:00:59Z"},{"at":60000},{"at":true},{"at":1e300}]`)
	b.push(0, `{"at":1}`, `{"at":"x"}`)
	b.Advance(start.Add(time.Hour))
	const n0, n1 = `"c":2,"key":"","window":{"end":"1970-01-01T00:01:00Z","start":"1970-01-01T00:00:00Z"}`, `"c":1,"key":"","window":{"end":"1970-01-01T00:02:00Z","start":"1970-01-01T00:01:00Z"}`
	want := strings.Join([]string{
		`out plant/p/m//0 {` + n0 + `}`,
		"dead in ExpressionFailed time: true is no time, text or number",
		"dead in ExpressionFailed time: 1e+300 milliseconds are out of range",
		`dead in ExpressionFailed time: "x" is no time as in RFC 3339`,
		`out plant/p/m//60000 {` + n1 + `}`,
	}, "\n")
	if have := strings.Join(b.lines, "\n"); have != want {
		t.Errorf("have\n%s\nwant\n%s", have, want)
	}
	for _, s := range b.Stats() {
		if s.Name == "m" && s.Late != 1 {
			t.Errorf("%+v", s)
		}
	}
}

func TestStats(t *testing.T) {
	b := newBench(t, ends+"  steps: [{name: f, filter: {expression: event.data.v > 1}}, {name: d, dedupe: {within: 1h}}]", nil)
	for i := range 200 {
		b.push(0, fmt.Sprintf(`{"v":%d}`, i))
	}
	b.push(0, `{}`)
	stats := b.Stats()
	for i, want := range []pipeline.StepStats{
		{Name: "in", Kind: "mqtt", Part: pipeline.PartSource, In: 201, Out: 201},
		{Name: "f", Kind: "filter", Part: pipeline.PartStep, In: 201, Out: 198, Drop: 2, Dead: 1},
		{Name: "d", Kind: "dedupe", Part: pipeline.PartStep, In: 198, Out: 198, Keys: 198},
		{Name: "out", Kind: "file", Part: pipeline.PartSink, In: 198},
	} {
		if i == 1 && stats[i].Busy <= 0 {
			t.Error("no time was measured")
		}
		if stats[i].Busy = 0; stats[i] != want {
			t.Errorf("have %+v\nwant %+v", stats[i], want)
		}
	}
	if len(b.trace) != 201+198+198 {
		t.Errorf("%d events were traced", len(b.trace))
	}
}

// panicky is Expressions whose programs panic on events with the id "boom".
type panicky struct{ pipelinetest.Expressions }

func (p panicky) Compile(text string, t pipeline.Types) (pipeline.Program, error) {
	inner, err := p.Expressions.Compile(text, t)
	return panickyProgram{inner}, err
}

type panickyProgram struct{ pipeline.Program }

func (p panickyProgram) Eval(v *pipeline.Vars) (any, error) {
	if v.Event.ID == "boom" {
		panic("boom")
	}
	return p.Program.Eval(v)
}

func TestPanicIsADeadLetter(t *testing.T) {
	plan, err := pipeline.Compile(parse(t, ends+"  steps: [{name: s, filter: {expression: 'true'}}]"), pipeline.Options{Expressions: panicky{}})
	if err != nil {
		t.Fatal(err)
	}
	var sent []string
	var dead []pipeline.DeadLetter
	m, err := pipeline.NewMachine(plan, pipeline.MachineConfig{
		Sink: func(_ string, e pipeline.Event) { sent = append(sent, e.ID) },
		Dead: func(l pipeline.DeadLetter) { dead = append(dead, l) },
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Push(start, "in", pipeline.Event{ID: "1"}, pipeline.Event{ID: "boom"}, pipeline.Event{ID: "2"})
	if len(sent) != 2 || len(dead) != 1 || dead[0].Reason != v1alpha1.ReasonPanic || dead[0].Event.ID != "boom" {
		t.Errorf("%v %+v", sent, dead)
	}
}
