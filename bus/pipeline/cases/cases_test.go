package cases_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cases"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

const spec = `
apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: hot, namespace: plant}
spec:
  sources:
  - name: temps
    mqtt: {topic: plant/+/temp}
  steps:
  - name: limit
    enrich: {twin: {device: event.data.device, property: limit, as: limit}}
  - name: hot
    filter: {expression: event.data.value > event.data.limit}
  - name: minute
    window: {tumbling: 1m, key: event.data.device, aggregate: {count: count(), all: collect(event.data.value)}}
  sinks:
  - name: alarms
    from: [hot]
    mqtt: {topic: alarms}
  - name: aggregates
    mqtt: {topic: aggregates}
  tests:
`

// plan compiles the pipeline with some cases.
func plan(t testing.TB, tests string) *pipeline.Plan {
	t.Helper()
	all, err := pipeline.ParseYAML([]byte(spec + tests))
	if err != nil || len(all) != 1 {
		t.Fatal(err)
	}
	x, err := cel.New(cel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.Compile(all[0], pipeline.Options{Expressions: x})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const twins = `
    twins: [{device: d1, property: limit, value: 80}]
`

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		test string
		want []string // parts of the failures, in their order; none means that the case passes
	}{
		"passes": {test: `
    input:
    - {source: temps, at: 1s, data: {device: d1, value: 81}}
    - {source: temps, at: 2s, raw: '{"device":"d1","value":82.5}'}
    - {source: temps, at: 3s, base64: eyJkZXZpY2UiOiJkMSIsInZhbHVlIjoxfQ==}
    expect:
    - {sink: alarms, at: 1s, id: "1", data: {value: 81, limit: 80}}
    - {sink: alarms, at: 2s}
    - {sink: aggregates, at: 1m, data: {key: d1, count: 2, all: [81, 82.5]}}
    notExpect:
    - {sink: alarms, data: {value: 1}}`},
		"other data": {test: `
    input:
    - {source: temps, at: 1s, data: {device: d1, value: 81, tags: [1, 2]}}
    expect:
    - {sink: alarms, at: 500ms, id: x, data: {value: 82, unit: C, tags: [1], device: [d1]}}`,
			want: []string{"alarms: event 1 differs:", `id: expected "x", got "1"`, "at: expected 500ms or earlier, got 1s", `data.device: expected ["d1"], got "d1"`,
				"data.tags: expected 1 elements, got 2: [1,2]", `data.unit: expected "C", got nothing`, "data.value: expected 82, got 81"}},
		"too few and too many": {test: `
    input:
    - {source: temps, at: 1s, data: {device: d1, value: 81}}
    - {source: temps, at: 1s, data: {device: d1, value: 82}}
    expect:
    - {sink: alarms, data: {value: 81}}
    - {sink: aggregates}
    - {sink: aggregates, data: {count: 3}}`,
			want: []string{"alarms: event 2 was not expected: 1s alarms: ", `aggregates: event 2 did not come: {"count":3}`}},
		"what is not expected": {test: `
    input:
    - {source: temps, at: 1s, data: {device: d1, value: 81}}
    notExpect:
    - {sink: aggregates, data: {count: 1}}`,
			want: []string{"notExpect 1: this came: 1m0s aggregates: "}},
		"nothing is expected": {test: `
    input:
    - {source: temps, at: 1s, data: {device: d1, value: 81}}
    until: 30s`,
			want: []string{"alarms: event 1 was not expected"}},
		"dead letters": {test: `
    input:
    - {source: temps, raw: no JSON}
    - {source: temps, data: {device: d2, value: 1}}
    expect:
    - {sink: temps, deadLetter: DecodeFailed}`,
			want: []string{"hot: dead letter 1 was not expected: 0s hot: dead letter ExpressionFailed"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan(t, "  - name: "+name+twins+strings.TrimPrefix(c.test, "\n"))
			traced := 0
			r, err := cases.Run(p, p.Spec().Spec.Tests[0], cases.Config{Node: "edge-7", Trace: func(time.Duration, string, pipeline.Event) { traced++ }})
			if err != nil {
				t.Fatal(err)
			}
			if r.Passed() != (c.want == nil) {
				t.Errorf("passed: %t\n%s", r.Passed(), r)
			}
			rest := r.String()
			for _, want := range c.want {
				_, after, ok := strings.Cut(rest, want)
				if !ok {
					t.Fatalf("no %q in\n%s", want, r)
				}
				rest = after
			}
			if traced == 0 && name != "dead letters" {
				t.Error("nothing is traced")
			}
		})
	}
}

// TestWrongCases: a case that cannot be run says why.
func TestWrongCases(t *testing.T) {
	for test, want := range map[string]string{
		"    input: [{source: none, data: 1}]":                                            `input 0: the pipeline has no source "none"`,
		"    input: [{source: temps, data: 1, raw: x}]":                                   "more than one of data, raw and base64",
		"    input: [{source: temps, at: 2s, data: 1}, {source: temps, at: 1s, data: 1}]": "input 1 comes at 1s, before",
		"    input: []\n    expect: [{sink: hot}]":                                        `expect 0: the pipeline has no sink "hot"`,
		"    input: []\n    notExpect: [{sink: none, deadLetter: Refused}]":               `notExpect 0: the pipeline has no source, step or sink "none"`,
	} {
		p := plan(t, "  - name: x\n"+test)
		if _, err := cases.Run(p, p.Spec().Spec.Tests[0], cases.Config{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", test, err, want)
		}
	}
}

func ExampleRun() {
	all, err := pipeline.ParseYAML([]byte(`
apiVersion: pipelines.edgekit.io/v1alpha1
kind: Pipeline
metadata: {name: fahrenheit}
spec:
  sources: [{name: temps, mqtt: {topic: temps}}]
  steps: [{name: shape, map: {data: "{'value': event.data.value * 1.8 + 32.0}"}}]
  sinks: [{name: out, mqtt: {topic: out}}]
  tests:
  - name: boiling water
    input: [{source: temps, data: {value: 100}}]
    expect: [{sink: out, data: {value: 211}}]
`))
	if err != nil {
		panic(err)
	}
	x, err := cel.New(cel.Config{})
	if err != nil {
		panic(err)
	}
	plan, err := pipeline.Compile(all[0], pipeline.Options{Expressions: x})
	if err != nil {
		panic(err)
	}
	for _, test := range all[0].Spec.Tests {
		r, err := cases.Run(plan, test, cases.Config{})
		if err != nil {
			panic(err)
		}
		fmt.Print(r)
	}
	// Output:
	// boiling water: failed
	//   out: event 1 differs:
	//     data.value: expected 211, got 212
	//   what came:
	//     0s out: {"value":212}
}

// FuzzRun: no case makes Run panic or run on.
func FuzzRun(f *testing.F) {
	f.Add([]byte(`{"device":"d1","value":81}`))
	f.Add([]byte(`[1e300,null]`))
	p := plan(f, "  - {name: x, input: []}")
	f.Fuzz(func(t *testing.T, data []byte) {
		test := v1alpha1.Test{Name: "x", Input: []v1alpha1.TestInput{{Source: "temps", Raw: string(data)}},
			Expect: []v1alpha1.TestOutput{{Sink: "alarms", Data: &v1alpha1.Value{Raw: data}}}}
		if r, err := cases.Run(p, test, cases.Config{}); err == nil {
			_ = r.String()
		}
	})
}
