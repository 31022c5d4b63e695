package pipeline_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// parse reads one Pipeline of YAML: what follows spec, with two spaces before each line.
func parse(t testing.TB, spec string) *v1alpha1.Pipeline {
	t.Helper()
	all, err := pipeline.ParseYAML([]byte("apiVersion: pipelines.edgekit.io/v1alpha1\nkind: Pipeline\nmetadata: {name: p, namespace: plant}\nspec:\n" + spec))
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

type schemas struct{}

func (schemas) Validate(data any) error {
	if m, ok := data.(map[string]any); ok && m["bad"] != nil {
		return errors.New("bad is not allowed")
	}
	return nil
}

func options() pipeline.Options {
	return pipeline.Options{
		Expressions: pipelinetest.Expressions{},
		Schema: func(text string) (pipeline.Validator, error) {
			if text == "{" {
				return nil, errors.New("the JSON is not complete")
			}
			return schemas{}, nil
		},
	}
}

func compile(t testing.TB, spec string) *pipeline.Plan {
	t.Helper()
	plan, err := pipeline.Compile(parse(t, spec), options())
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

const ends = `
  sources: [{name: in, mqtt: {topic: a}}]
  sinks: [{name: out, file: {path: x}}]
`

// TestCompileErrors wants each mistake to be said with its place, and all at once.
func TestCompileErrors(t *testing.T) {
	for _, c := range []struct{ name, spec, want string }{
		{"no sources", "  sinks: [{name: out, file: {path: x}}]", "spec.sources: has 0 entries"},
		{"no sinks", "  sources: [{name: in, mqtt: {topic: a}}]", "spec.sinks: has 0 entries"},
		{"no kind", ends + "  steps: [{name: s}]", "s: spec.steps[0]: has no kind: set one of [filter map"},
		{"two kinds", ends + "  steps: [{name: s, filter: {expression: 'true'}, dedupe: {within: 1s}}]", "s: spec.steps[0]: has 2 kinds, [filter dedupe]"},
		{"two kinds of sources", "  sources: [{name: in, mqtt: {topic: a}, http: {path: /a}}]\n  sinks: [{name: out, file: {path: x}}]", "in: spec.sources[0]: has 2 kinds"},
		{"no kind of a sink", "  sources: [{name: in, mqtt: {topic: a}}]\n  sinks: [{name: out}]", "out: spec.sinks[0]: has no kind"},
		{"a bad name", ends + "  steps: [{name: 'a/b', filter: {expression: 'true'}}]", `a/b: spec.steps[0].name: is "a/b"`},
		{"a double name", ends + "  steps: [{name: in, filter: {expression: 'true'}}]", "in: spec.steps[0].name: is the name of spec.sources[0], too"},
		{"an expression", ends + "  steps: [{name: s, filter: {expression: 'event.data.'}}]", "s: spec.steps[0].filter.expression: column 12: a name must follow the dot"},
		{"a type", ends + "  steps: [{name: s, filter: {expression: '1'}}]", "s: spec.steps[0].filter.expression: the result is 1, not a bool"},
		{"no expression", ends + "  steps: [{name: s, filter: {expression: ''}}]", "s: spec.steps[0].filter.expression: is required"},
		{"a long expression", ends + "  steps: [{name: s, filter: {expression: '" + strings.Repeat("!", 5000) + "true'}}]", "has 5004 bytes"},
		{"a map of nothing", ends + "  steps: [{name: s, map: {}}]", "s: spec.steps[0].map: does nothing"},
		{"a field of a map", ends + "  steps: [{name: s, map: {set: {a: 'x'}}}]", `s: spec.steps[0].map.set["a"]: column 2: "x" is unknown`},
		{"an unknown table", ends + "  steps: [{name: s, enrich: {table: {name: t, key: event.id, as: x}}}]", `spec.steps[0].enrich.table.name: there is no table "t"`},
		{"rows without key", ends + "  tables: [{name: t, key: k, rows: [{a: 1}]}]\n  steps: [{name: s, enrich: {table: {name: t, key: event.id, as: x}}}]", `t: spec.tables[0].rows: row 1 has no "k"`},
		{"no window", ends + "  steps: [{name: s, window: {aggregate: {c: count()}}}]", "s: spec.steps[0].window: has no kind"},
		{"no aggregate", ends + "  steps: [{name: s, window: {tumbling: 1s, aggregate: {}}}]", "s: spec.steps[0].window.aggregate: has 0 entries"},
		{"a negative window", ends + "  steps: [{name: s, window: {tumbling: -1s, aggregate: {c: count()}}}]", "s: spec.steps[0].window.tumbling: is -1s"},
		{"too many hops", ends + "  steps: [{name: s, window: {hopping: {size: 1h, every: 1s}, aggregate: {c: count()}}}]", "spec.steps[0].window.hopping.every: each event is in 3600 windows"},
		{"too large hops", ends + "  steps: [{name: s, window: {hopping: {size: 99s, every: 1s}, aggregate: {a: collect(event.data), b: first(event.id)}}}]", "spec.steps[0].window.aggregate: each event is in 99 windows with 2 aggregates"},
		{"an unknown aggregate", ends + "  steps: [{name: s, window: {tumbling: 1s, aggregate: {c: median(event.data)}}}]", `spec.steps[0].window.aggregate["c"]: "median(event.data)" is no aggregate`},
		{"two aggregates", ends + "  steps: [{name: s, window: {tumbling: 1s, aggregate: {c: sum(event.data.a) / count()}}}]", "is more than one aggregate"},
		{"an aggregate of nothing", ends + "  steps: [{name: s, window: {tumbling: 1s, aggregate: {c: sum()}}}]", "sum needs an expression in its brackets"},
		{"count of something", ends + "  steps: [{name: s, window: {tumbling: 1s, aggregate: {c: count(event.id)}}}]", "count has nothing in its brackets"},
		{"a taken result", ends + "  steps: [{name: s, window: {tumbling: 1s, aggregate: {key: count()}}}]", `aggregate["key"]: is a name that results have already`},
		{"a name that YAML reads as a bool", ends + "  steps: [{name: s, map: {set: {n: event.id}}}]", `spec.steps[0].map.set["false"]: YAML reads n`},
		{"lateness of count", ends + "  steps: [{name: s, window: {count: {size: 5}, lateness: 1s, aggregate: {c: count()}}}]", "window.lateness: count and state windows have none"},
		{"a dead band", ends + "  steps: [{name: s, onChange: {deadBand: x}}]", `spec.steps[0].onChange.deadBand: is "x"`},
		{"a schema", ends + "  steps: [{name: s, schema: {json: '{'}}]", "s: spec.steps[0].schema.json: the JSON is not complete"},
		{"an unknown from", ends + "  steps: [{name: s, from: [x], filter: {expression: 'true'}}]", `s: spec.steps[0].from[0]: there is no source and no step "x"`},
		{"from a sink", ends + "  steps: [{name: s, from: [out], filter: {expression: 'true'}}]", `"out" is a sink`},
		{"from twice", ends + "  steps: [{name: s, from: [in, in], filter: {expression: 'true'}}]", `spec.steps[0].from[1]: "in" is there twice`},
		{"a cycle of one", ends + "  steps: [{name: s, from: [in, s], filter: {expression: 'true'}}]", "s: spec.steps[0].from: the steps are a cycle: s takes events of s"},
		{"a cycle", ends + "  steps: [{name: a, from: [c], filter: {expression: 'true'}}, {name: b, filter: {expression: 'true'}}, {name: c, filter: {expression: 'true'}}]", "the steps are a cycle: a takes events of c, which takes events of b, which takes events of a"},
		{"not used", ends + "  steps: [{name: a, filter: {expression: 'true'}}, {name: b, from: [in], filter: {expression: 'true'}}]", "a: spec.steps[0]: no step and no sink has its events"},
		{"a source is not used", "  sources: [{name: in, mqtt: {topic: a}}, {name: in2, mqtt: {topic: a}}]\n  sinks: [{name: out, from: [in], file: {path: x}}]", "in2: spec.sources[1]: no step and no sink"},
		{"a template", "  sources: [{name: in, mqtt: {topic: a}}]\n  sinks: [{name: out, mqtt: {topic: 'a/{event.id'}}]", "out: spec.sinks[0].mqtt.topic: there is a { without }"},
		{"a queue", "  sources: [{name: in, mqtt: {topic: a}}]\n  sinks: [{name: out, queue: {overflow: Drop, maxSize: 1k}, mqtt: {topic: a}}]", `out: spec.sinks[0].queue.overflow: is "Drop"`},
		{"a time", "  sources: [{name: in, mqtt: {topic: a}, time: 'event.x'}]\n  sinks: [{name: out, file: {path: x}}]", `in: spec.sources[0].time: column 8: event has no field "x"`},
		{"a decoder", "  sources: [{name: in, mqtt: {topic: a}, decode: {format: cbor}}]\n  sinks: [{name: out, file: {path: x}}]", `in: spec.sources[0].decode: format "cbor"`},
		{"a long duration", ends + "  steps: [{name: s, dedupe: {within: 10000h}}]", "s: spec.steps[0].dedupe.within: is 10000h0m0s"},
		{"a rate", ends + "  steps: [{name: s, rateLimit: {events: 0, per: 1s}}]", "s: spec.steps[0].rateLimit.events: is 0"},
		{"one file for two sinks", "  sources: [{name: in, mqtt: {topic: a}}]\n  sinks: [{name: out, file: {path: x}}, {name: out2, file: {path: ./x, format: parquet}}]", `out2: spec.sinks[1].file.path: "./x" is the file of sink out, too`},
		{"a loop", "  sources: [{name: in, mqtt: {topic: plant/#}}]\n  sinks: [{name: out, mqtt: {topic: 'plant/alarms'}}]", "out: spec.sinks[0].mqtt.topic: what it sends comes in again at source in"},
		{"a loop of every event", "  sources: [{name: in, mqtt: {topic: $share/g/plant/#}}]\n  sinks: [{name: out, mqtt: {topic: 'plant/{event.id}/x'}}]", "what it sends comes in again at source in"},
		{"a loop of two sinks", "  sources: [{name: a, mqtt: {topic: a}}, {name: b, mqtt: {topic: b}}]\n  sinks: [{name: toB, from: [a], mqtt: {topic: b}}, {name: toA, from: [b], mqtt: {topic: a}}]", "toA: spec.sinks[1].mqtt.topic: what it sends comes in again at source a"},
		{"a loop through a file", "  sources: [{name: in, file: {path: x}}]\n  sinks: [{name: out, file: {path: x}}]", "out: spec.sinks[0].file.path: what it sends comes in again at source in"},
		{"keys", ends + "  steps: [{name: s, dedupe: {within: 1s, maxKeys: 1000000}}]", "s: spec.steps[0].dedupe.maxKeys: is 1000000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, err := pipeline.Compile(parse(t, c.spec), options())
			if err == nil || plan != nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("have %v, want %q", err, c.want)
			}
			for _, e := range pipeline.Errors(err) {
				if e.Field == "" || e.Message == "" {
					t.Errorf("%+v", e)
				}
			}
		})
	}
}

// TestNoLoop: what may be no loop, and chains of sources and sinks, are no errors.
func TestNoLoop(t *testing.T) {
	for _, spec := range []string{
		"  sources: [{name: in, mqtt: {topic: plant/+/temp}}]\n  sinks: [{name: out, mqtt: {topic: 'plant/{event.id}'}}]",
		"  sources: [{name: in, mqtt: {topic: plant/+}}]\n  sinks: [{name: out, mqtt: {topic: 'plant/{event.subject}'}}]",
		"  sources: [{name: a, mqtt: {topic: a}}, {name: b, mqtt: {topic: b}}]\n  sinks: [{name: toB, from: [a], mqtt: {topic: b}}, {name: out, from: [b], mqtt: {topic: c}}]",
		"  sources: [{name: in, file: {path: x}}]\n  sinks: [{name: out, file: {path: y/x}}]",
	} {
		compile(t, spec)
	}
}

func TestCompileSaysAllErrors(t *testing.T) {
	_, err := pipeline.Compile(parse(t, ends+`
  steps:
  - {name: a, filter: {expression: 'x'}}
  - {name: b, window: {tumbling: 0s, aggregate: {c: 'sum(x)'}}}
  - {name: c, from: [nobody], dedupe: {within: 0s}}
`), options())
	have := make(map[string]bool)
	for _, e := range pipeline.Errors(err) {
		have[e.Step+" "+e.Field] = true
	}
	for _, want := range []string{
		"a spec.steps[0].filter.expression", "b spec.steps[1].window.tumbling", `b spec.steps[1].window.aggregate["c"]`,
		"c spec.steps[2].dedupe.within", "c spec.steps[2].from[0]",
	} {
		if !have[want] {
			t.Errorf("nothing is said about %s in\n%v", want, err)
		}
	}
}

func TestParseYAML(t *testing.T) {
	const head = "apiVersion: pipelines.edgekit.io/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\n"
	for _, c := range []struct{ name, text, want string }{
		{"an unknown field", head + "spec: {sorces: []}", `unknown field "sorces"`},
		{"another kind", "apiVersion: v1\nkind: Pod\n", `apiVersion "v1" and kind "Pod"`},
		{"nothing", "# a comment\n---\n", "has no Pipeline"},
		{"the second", head + "spec: {}\n---\nkind: [", "document 2"},
		{"large", strings.Repeat("#", pipeline.MaxYAML+1), "over the limit"},
		{"many", strings.Repeat("---\n", pipeline.MaxDocuments+1), "over the limit"},
	} {
		if _, err := pipeline.ParseYAML([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: have %v, want %q", c.name, err, c.want)
		}
	}
	all, err := pipeline.ParseYAML([]byte("# first\n---\n" + head + "spec: {}\n---\n---\n" + strings.Replace(head, "name: p", "name: q", 1)))
	if err != nil || len(all) != 2 || all[1].Name != "q" {
		t.Errorf("%v %v", all, err)
	}
}

func TestTemplate(t *testing.T) {
	e := pipeline.Event{ID: "7", Data: map[string]any{"n": int64(3), "f": 1.5, "l": []any{}}}
	for _, c := range []struct{ text, want, err string }{
		{"", "", ""},
		{"a/b", "a/b", ""},
		{"a/{event.id}/{event.data.n}/{event.data.f}/{true}", "a/7/3/1.5/true", ""},
		{"{{{event.id}}}", "{7}", ""},
		{"{'}' + event.id}", "}7", ""},
		{"{event.data.l}", "", "must be a text"},
		{"{event.data.x}", "", "no such key"},
		{"{event.id", "", "{ without }"},
		{"event.id}", "", "} without {"},
		{"{x}", "", "unknown"},
	} {
		tm, err := pipeline.CompileTemplate(pipelinetest.Expressions{}, c.text)
		have := ""
		if err == nil {
			have, err = tm.Render(&pipeline.Vars{Event: &e})
		}
		if have != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %q %v, want %q %q", c.text, have, err, c.want, c.err)
		}
	}
}

// FuzzCompile gives YAML to ParseYAML, Compile and a Machine.
func FuzzCompile(f *testing.F) {
	const head = "apiVersion: pipelines.edgekit.io/v1alpha1\nkind: Pipeline\nmetadata: {name: p}\nspec:\n"
	for _, spec := range []string{
		ends,
		ends + "  steps: [{name: s, window: {hopping: {size: 10s, every: 5s}, key: event.id, lateness: 1s, aggregate: {c: count(), a: avg(event.data.v)}}}]",
		ends + "  steps: [{name: s, window: {state: {start: 'event.data.v > 1', end: 'event.data.v < 1'}, aggregate: {c: collect(event.data)}}}]",
		ends + "  steps: [{name: s, window: {session: {gap: 1s}, aggregate: {c: stddev(event.data.v)}}}, {name: m, map: {set: {x: event.data.c}, drop: [c]}}, {name: o, onChange: {deadBand: '1'}}]",
		ends + "  tables: [{name: t, key: k, rows: [{k: 1, v: 2}]}]\n  steps: [{name: s, from: [in], enrich: {table: {name: t, key: event.data.v, as: r}}}, {name: d, dedupe: {within: 1s}}, {name: r, rateLimit: {events: 1, per: 1s}}]",
	} {
		f.Add(head + spec)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := pipeline.ParseYAML([]byte(text))
		if err != nil {
			return
		}
		for _, p := range all {
			plan, err := pipeline.Compile(p, options())
			if err != nil {
				if len(pipeline.Errors(err)) == 0 {
					t.Fatalf("not of type Error: %v", err)
				}
				continue
			}
			m, err := pipeline.NewMachine(plan, pipeline.MachineConfig{
				Sink: func(string, pipeline.Event) {},
				Dead: func(l pipeline.DeadLetter) {
					if l.Reason == v1alpha1.ReasonPanic {
						t.Fatal(l.Message)
					}
				},
			})
			if err != nil {
				continue
			}
			now := start
			for i, data := range []string{`{"v":1}`, `{"v":2,"n":null}`, `[1]`, `x`, `{"v":0.5}`} {
				for _, s := range p.Spec.Sources {
					m.Push(now, string(s.Name), pipeline.Event{ID: fmt.Sprint(i), Data: []byte(data)})
				}
				now = now.Add(3e9)
			}
			m.Advance(now.Add(1e15))
		}
	})
}

// TestAttackDecoders bounds what decoding of a payload allocates.
func TestAttackDecoders(t *testing.T) {
	plan := compile(t, ends)
	for _, payload := range []string{
		"[" + strings.Repeat("0,", 100_000) + "0]",
		strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000),
		"[" + strings.Repeat("{},", 100_000) + "{}]",
	} {
		m, err := pipeline.NewMachine(plan, pipeline.MachineConfig{Sink: func(string, pipeline.Event) {}})
		if err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		m.Push(start, "in", pipeline.Event{ID: "1", Data: []byte(payload)})
		runtime.ReadMemStats(&after)
		if per := (after.TotalAlloc - before.TotalAlloc) / uint64(len(payload)); per > 20 {
			t.Errorf("%.10s: %d bytes are allocated for each byte", payload, per)
		}
	}
}
