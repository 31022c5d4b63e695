package cel_test

import (
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
)

func BenchmarkEval(b *testing.B) {
	x := newExpressions(b)
	for name, c := range map[string]struct {
		text string
		want pipeline.Type
	}{
		"filter":  {"event.data.value > 80.0", pipeline.Bool},
		"and":     {"event.data.value > 80.0 && event.data.device == 'd1'", pipeline.Bool},
		"map":     {"event.data.value * 1.8 + 32.0", pipeline.Any},
		"key":     {"event.data.device", pipeline.Any},
		"subject": {"event.subject.startsWith('plant/')", pipeline.Bool},
		"matches": {"event.subject.matches('^plant/[a-z]+/temp$')", pipeline.Bool},
		"list":    {"event.data.list.exists(x, x == 2.0)", pipeline.Bool}, // its cost is counted
	} {
		b.Run(name, func(b *testing.B) {
			p, err := x.Compile(c.text, pipeline.Types{Result: c.want})
			if err != nil {
				b.Fatal(err)
			}
			v := vars()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Eval(v); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	x := newExpressions(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := x.Compile("event.data.value * 1.8 + 32.0 > 100.0 && event.data.device == 'd1'", pipeline.Types{Result: pipeline.Bool}); err != nil {
			b.Fatal(err)
		}
	}
}
