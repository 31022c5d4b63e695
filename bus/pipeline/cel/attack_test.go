package cel_test

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// doubled binds names to sums of the name before, n times.
func doubled(first, sum, last string, n int) string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "cel.bind(v0, %s, ", first)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(b, "cel.bind(v%d, %s, ", i, strings.ReplaceAll(sum, "V", fmt.Sprint("v", i-1)))
	}
	return b.String() + strings.ReplaceAll(last, "V", fmt.Sprint("v", n)) + strings.Repeat(")", n+1)
}

// TestAttackMemory has expressions that make much out of little.
func TestAttackMemory(t *testing.T) {
	x := newExpressions(t)
	v := vars()
	v.Event.Data = map[string]any{"s": strings.Repeat("a", 1<<20), "t": "ab", "p": strings.Repeat("(a{1,100}){1,10}", 60), "l": []any{1.0, 2.0}}
	for _, text := range []string{
		"event.data.s.replace('a', event.data.s).size()",
		"event.data.s.replace('', event.data.s).size()",
		"event.data.s.replace('a', event.data.s, 5000).size()",
		"regex.replace(event.data.s, 'a', event.data.s).size()",
		doubled("event.data.s", "V + V", "V.size()", 20),
		doubled("[1, 2]", "V + V", "V.reverse().size()", 20),
		doubled("[1, 2]", "V + V", "V", 20),
		doubled("[1, 2]", "V + V", "V.map(i, i).size()", 20),
		doubled("['x', event.data.t]", "[V, V, V, V]", "V", 18),
		doubled("['x', event.data.t]", "[V, V, V, V]", "V.flatten(18).size()", 18),
		doubled("['x', event.data.t]", "{'a': V, 'b': V, 'c': V}", "'%s'.format([V]).size()", 18),
		"[event.data.s, event.data.s, event.data.s].join(event.data.s).size()",
		"lists.range(10000).map(i, event.data.s).join('').size()",
		"lists.range(10000).map(i, lists.range(10000)).flatten().size()",
		"lists.range(10000).distinct().size()",
		"lists.range(1000000).size()",
		"'%.999999999f'.format([1.5]).size()",
		"[event.data.s, event.data.s]",
		"'a'.matches(event.data.p)",
		"regex.extract('a', event.data.p) == optional.none()",
		"regex.extractAll('a', event.data.p)",
	} {
		p, err := x.Compile(text, pipeline.Types{})
		if err != nil {
			if !strings.Contains(err.Error(), "may cost") && !strings.Contains(err.Error(), "recursion") && !strings.Contains(err.Error(), "precision") {
				t.Errorf("%.80s: %v", text, err)
			}
			continue
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := p.Eval(v)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; err == nil || used > 256<<20 {
			t.Errorf("%.80s: %.40v, %v; %d bytes", text, got, err, used)
		}
	}
}

// TestCounted compares results of expressions whose cost is counted, for large events, with
// those where it is not.
func TestCounted(t *testing.T) {
	x := newExpressions(t)
	for _, text := range []string{
		"event.data.l.exists(x, x == 2.0)", "event.data.l.filter(x, x > 1)[0] * 2", "event.data.s.contains('b')", "event.data.l.all(x, event.data.l.exists(y, y == x))",
		"event.data.l.map(x, x + 1)[0]",
	} {
		p, err := x.Compile(text, pipeline.Types{})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		small, large := vars(), vars()
		small.Event.Data = map[string]any{"l": []any{1.0, 2.0}, "s": "abc"}
		large.Event.Data = map[string]any{"l": []any{1.0, 2.0}, "s": "abc", "more": strings.Repeat("x", 5000)}
		a, err := p.Eval(small)
		b, lerr := p.Eval(large)
		if err != nil || lerr != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%s: %v, %v and %v, %v", text, a, err, b, lerr)
		}
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"event.data.value > 80", "[1, 2].map(x, x * 2.0)", "event.data.?a.orValue('b') + 'c'", "cel.bind(a, event.data, a)", "'%s'.format([event.id])", "{'a': now}", "regex.replace('a', 'b', 'c')"} {
		f.Add(s)
	}
	x := newExpressions(f)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := x.Compile(text, pipeline.Types{})
		if err != nil {
			if len(err.Error()) > 700 {
				t.Errorf("%d bytes of error", len(err.Error()))
			}
			return
		}
		if _, err := p.Eval(vars()); err != nil && strings.Contains(err.Error(), "internal error") && !strings.Contains(err.Error(), "overflow") {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// TestAttackCompile has texts that take the longest to compile: cloudcore compiles them, too.
func TestAttackCompile(t *testing.T) {
	x := newExpressions(t)
	nested := func(before, after, inner string, n int) string {
		return strings.Repeat(before, n) + inner + strings.Repeat(after, n)
	}
	for _, text := range []string{
		"event.data.l" + strings.Repeat(".map(x, x)", 400), nested("[", "]", "1", 45), nested("{'a':", "}", "1", 45), "true" + strings.Repeat(" ? true : true", 300),
		nested("event.data.l.all(x, ", ")", "true", 20), nested("[1].map(x, ", ")", "1", 40), nested("[1, 2].sortBy(x, ", ")[0]", "1", 30), nested("cel.bind(v, 1, ", ")", "v", 40),
		strings.Repeat("event.data.a + ", 250) + "1", strings.Repeat("event.data.a == 1 || ", 190) + "true", "[" + strings.Repeat("event.data,", 360) + "1]", strings.Repeat("!", 4000) + "true",
		"'" + strings.Repeat("a", 4000) + "'.matches('" + strings.Repeat("(a?){1000}", 4) + "')", "event.id.matches('" + strings.Repeat("(a{1,100}){1,10}", 200) + "')", "event.id.matches('" + strings.Repeat("(a{1,100}){1,10}", 60) + "')", "regex.extract(event.id, '" + strings.Repeat("(a{1,100}){1,10}", 60) + "')", strings.Repeat("event.", 600) + "a",
	} {
		if used := allocatedBy(func() { _, _ = x.Compile(text, pipeline.Types{}) }); used > 32<<20 {
			t.Errorf("%.60s: %d bytes", text, used)
		}
	}
}

func allocatedBy(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
