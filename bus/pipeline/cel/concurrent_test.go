package cel_test

import (
	"sync"
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// TestConcurrent has several goroutines with one program and events of their own.
func TestConcurrent(t *testing.T) {
	x := newExpressions(t)
	p, err := x.Compile("event.data.list.map(v, v * event.data.value)[1] + now.getSeconds()", pipeline.Types{Result: pipeline.Number})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for range 500 {
				v := vars()
				v.Event.Data = map[string]any{"list": []any{1.0, 2.0}, "value": float64(g)}
				if got, err := p.Eval(v); err != nil || got != 2*float64(g)+1 {
					t.Errorf("%v, %v", got, err)
					return
				}
			}
			if _, err := x.Compile("event.id == 'a'", pipeline.Types{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
