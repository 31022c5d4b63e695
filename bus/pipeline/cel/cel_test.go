package cel_test

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cel"
)

func newExpressions(t testing.TB) *cel.Expressions {
	t.Helper()
	x, err := cel.New(cel.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

var at = time.Date(2026, 11, 30, 14, 0, 0, 0, time.UTC)

func vars() *pipeline.Vars {
	return &pipeline.Vars{
		Node: "edge-7", Now: at.Add(time.Second),
		Event: &pipeline.Event{
			ID: "1", Source: "/mqtt/plant", Type: "temp", Subject: "plant/a/temp", Time: at,
			Data: map[string]any{
				"value": 80.5, "whole": 80.0, "int": int64(7), "uint": uint64(9), "text": "abc", "ok": true, "none": nil, "raw": []byte{1, 2},
				"list": []any{1.0, 2.0, map[string]any{"v": 3.0}}, "device": "d1", "at": "2026-11-30T14:00:00Z",
			},
			Extensions: map[string]string{"site": "north"},
		},
	}
}

func TestEval(t *testing.T) {
	x := newExpressions(t)
	for text, want := range map[string]any{
		"event.data.value > 80.0": true, "event.data.value > 80": true, "event.data.whole == 80": true,
		"event.data.value * 2": 161.0, "event.data.value * 1.8 + 32.0": 80.5*1.8 + 32, "event.data.int * 1.5": 10.5, "1.5 * event.data.int": 10.5,
		"event.data.uint / 2.0": 4.5, "event.data.int + 1": int64(8), "event.data.int / 2": int64(3), "event.data.whole / 3": 80.0 / 3, "2 * 1.5": 3.0, "10 - 0.5": 9.5,
		"event.data.whole * 2 + 0.5": 160.5, "event.data.int % 4": int64(3), "7 / 2": int64(3), "'a' + 'b'": "ab", "[1] + [2]": []any{int64(1), int64(2)},
		"event.id + event.source + event.type + event.subject": "1/mqtt/planttempplant/a/temp",
		"event.extensions.site":                                "north", "'site' in event.extensions": true, "has(event.extensions.other)": false,
		"node": "edge-7", "now - event.time": "1s", "event.time": at, "now > event.time": true, "event.time.getHours()": int64(14),
		"{'t': event.time, 'd': duration('90s')}": map[string]any{"t": "2026-11-30T14:00:00Z", "d": "1m30s"},
		"event.data.list":                         []any{1.0, 2.0, map[string]any{"v": 3.0}}, "event.data.list.filter(x, type(x) == double)": []any{1.0, 2.0},
		"event.data.list[2].v": 3.0, "event.data.raw": []byte{1, 2}, "event.data.none": nil, "has(event.data.nothing)": false, "has(event.data.value)": true, "has(event.subject)": true,
		"event.data.?nothing.orValue(5)": int64(5), "event.data.?nothing": nil, "event.data.?value": 80.5,
		"{'a': event.data.value, 'b': [event.id]}": map[string]any{"a": 80.5, "b": []any{"1"}},
		"event.subject.split('/')[1]":              "a", "math.round(event.data.value)": 81.0, "math.greatest(1, event.data.value)": 80.5, "sets.contains([1, 2], [1])": true,
		"cel.bind(v, event.data.value, v * v)": 80.5 * 80.5, "event.data.transformMap(k, v, k == 'ok', v)": map[string]any{"ok": true}, "[3, 1].sort()": []any{int64(1), int64(3)},
		"event.subject.matches('^plant/[a-z]/temp$')": true, "base64.encode(event.data.raw)": "AQI=", "'%s: %.1f'.format([event.id, event.data.value])": "1: 80.5", "[event][0].id": "1",
		"string(event.data.whole)": "80", "int(event.data.value)": int64(80), "timestamp(event.data.at) == event.time": true,
	} {
		p, err := x.Compile(text, pipeline.Types{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := p.Eval(vars()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", text, got, err, want)
		}
	}
	whole, err := x.Compile("event.data", pipeline.Types{Result: pipeline.Object})
	if err != nil {
		t.Fatal(err)
	}
	if v := vars(); true {
		if got, err := whole.Eval(v); err != nil || !reflect.DeepEqual(got, v.Event.Data) {
			t.Errorf("event.data: %v, %v", got, err)
		}
	}
}

func TestResultTypes(t *testing.T) {
	x := newExpressions(t)
	for _, c := range []struct {
		text string
		want pipeline.Type
		out  any
		fail string // of Compile or Eval
	}{
		{"event.data.ok", pipeline.Bool, true, ""},
		{"event.data.value", pipeline.Bool, nil, "the result is a number, a bool is wanted"},
		{"event.id", pipeline.Bool, nil, "the result is of type string, a bool is wanted"},
		{"event.data.text", pipeline.String, "abc", ""},
		{"1", pipeline.String, nil, "the result is of type int, a string is wanted"},
		{"event.data.int", pipeline.Number, int64(7), ""},
		{"event.data.list", pipeline.Number, nil, "the result is a list, a number is wanted"},
		{"event.data.at", pipeline.Time, at, ""},
		{"event.time", pipeline.Time, at, ""},
		{"1796047200000", pipeline.Time, at, ""},
		{"1796047200000.5", pipeline.Time, at.Add(500 * time.Microsecond), ""},
		{"1e300", pipeline.Time, nil, "out of range"},
		{"9223372036854775807", pipeline.Time, nil, "out of range"},
		{"'yesterday'", pipeline.Time, nil, "no time as in RFC 3339"},
		{"event.data.ok", pipeline.Time, nil, "a timestamp, a text"},
		{"event.extensions", pipeline.Object, map[string]any{"site": "north"}, ""},
		{"{1: 2}", pipeline.Object, nil, "keys must be strings"},
		{"event", pipeline.Any, nil, "use a field, for example event.data"},
		{"type(1)", pipeline.Any, nil, "event or a type"},
		{"[event]", pipeline.Any, nil, "which is not data"},
	} {
		p, err := x.Compile(c.text, pipeline.Types{Result: c.want})
		var got any
		if err == nil {
			got, err = p.Eval(vars())
		}
		if c.fail != "" && (err == nil || !strings.Contains(err.Error(), c.fail)) || c.fail == "" && (err != nil || !reflect.DeepEqual(got, c.out)) {
			t.Errorf("%s as %v: %#v, %v; want %#v, %q", c.text, c.want, got, err, c.out, c.fail)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	x := newExpressions(t)
	closed := pipeline.Types{Closed: true, Fields: map[string]pipeline.Type{"avg": pipeline.Number, "key": pipeline.Any}}
	for _, c := range []struct {
		text  string
		types pipeline.Types
		want  string
	}{
		{"", pipeline.Types{}, "column 1: the expression is empty"},
		{"event.data.value >", pipeline.Types{}, "column 19: "},
		{"evnt.data", pipeline.Types{}, "column 1: undeclared reference to 'evnt': the variables are event, node and now"},
		{"event.dta", pipeline.Types{}, "column 6: undefined field 'dta'"},
		{"event.id > 5", pipeline.Types{}, "column 10: found no matching overload for '_>_' applied to '(string, int)'"},
		{"true &&\n  event.id", pipeline.Types{}, "line 2, column 8: expected type 'bool' but found 'string'"},
		{"'a'.matches('[')", pipeline.Types{}, "column 13: "},
		{"timestamp('soon') < now", pipeline.Types{}, "column 11: "},
		{"event.data.max > 3", closed, "column 11: undefined field 'max' of event.data: it has avg, key"},
		{"event.data['max'] > 3", closed, "undefined field 'max'"},
		{strings.Repeat("1+", 3000) + "1", pipeline.Types{}, "too long: 4096"},
		{strings.Repeat("(", 600) + "1" + strings.Repeat(")", 600), pipeline.Types{}, "recursion"},
		{"event.data.l.all(a, event.data.l.all(b, event.data.l.all(c, event.data.l.all(d, a == b && c == d))))", pipeline.Types{}, "column 1: it may cost"},
	} {
		_, err := x.Compile(c.text, c.types)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60s: %v; want %s", c.text, err, c.want)
		}
		if err != nil && (len(err.Error()) > 700 || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%.60s: an error of %d bytes: %q", c.text, len(err.Error()), err)
		}
	}
	for _, text := range []string{"event.data.avg > 3", "has(event.data.max)", "event.data.?max", "event.data.key == 'a'", "event.data.size()", "event.data.l.all(a, event.data.l.exists(b, a == b))"} {
		types := closed
		if strings.Contains(text, ".l.") {
			types = pipeline.Types{}
		}
		if _, err := x.Compile(text, types); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestEvalErrors(t *testing.T) {
	x := newExpressions(t)
	for text, want := range map[string]string{
		"event.data.nothing > 1":               "column 11: no such key: nothing",
		"event.data.value + 'x'":               "column 18: no such overload",
		"1 + event.data.text":                  "column 3: no such overload",
		"event.data.int / 0":                   "column 16: division by zero",
		"event.data.list[9]":                   "index out of bounds: 9",
		"9223372036854775807 + event.data.int": "overflow",
		"timestamp(event.data.text)":           "column 10: ",
	} {
		p, err := x.Compile(text, pipeline.Types{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := p.Eval(vars()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %s", text, got, err, want)
		}
	}
	p, err := x.Compile("event.id == ''", pipeline.Types{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := p.Eval(&pipeline.Vars{}); err == nil {
		t.Errorf("without an event: %v", got)
	}
	p, err = x.Compile("event.data.value", pipeline.Types{})
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range []any{nil, "text", 1.0, []any{}, []byte("x"), map[string]any{}} {
		if got, err := p.Eval(&pipeline.Vars{Event: &pipeline.Event{Data: data}}); err == nil {
			t.Errorf("data %v: %v", data, got)
		}
	}
}

func TestAttackCost(t *testing.T) {
	x := newExpressions(t)
	list := make([]any, 100_000)
	for i := range list {
		list[i] = float64(i)
	}
	v := vars()
	v.Event.Data = map[string]any{"l": list, "s": strings.Repeat("a", 1<<20)}
	for _, text := range []string{
		"event.data.l.all(a, event.data.l.exists(b, b == a))",
		"event.data.l.map(a, a * 2).map(a, a + 1).map(a, string(a)).size() > 0",
		"(event.data.s + event.data.s + event.data.s + event.data.s + event.data.s + event.data.s + event.data.s + event.data.s + event.data.s + event.data.s + event.data.s).matches('(a*)*b')",
	} {
		p, err := x.Compile(text, pipeline.Types{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got, err := p.Eval(v); err == nil || !strings.Contains(err.Error(), "costs more than is allowed") {
			t.Errorf("%.60s: %v, %v", text, got, err)
		}
	}
}

// TestPlain compares results with what CEL's language definition says of them.
func TestPlain(t *testing.T) {
	x := newExpressions(t)
	for text, want := range map[string]any{
		"1.0 / 0.0": math.Inf(1), "-5 / 2": int64(-2), "5u - 3u": uint64(2), "b'a' + b'b'": []byte("ab"), "timestamp('2026-01-01T00:00:00Z') + duration('1h')": at.AddDate(0, -10, -29).Add(-13 * time.Hour),
		"[1, 2.0] == [1.0, 2]": true, "dyn(1) < 1.5": true, "dyn(1) in [1.0]": true, "dyn(1) == 1.0": true,
	} {
		p, err := x.Compile(text, pipeline.Types{})
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := p.Eval(vars()); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", text, got, err, want)
		}
	}
}
