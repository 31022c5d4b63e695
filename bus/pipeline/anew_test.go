package pipeline_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// TestAnotherUnderTheName deletes a pipeline and creates one with its name while the node is away,
// or in one Apply: nothing of the former goes on. A pipeline with the same UID goes on, and so
// does one from a file, which has none.
func TestAnotherUnderTheName(t *testing.T) {
	for _, c := range []struct {
		first, second types.UID
		restart, anew bool
	}{
		{"u1", "u2", true, true}, {"u1", "u2", false, true}, {"u1", "u1", true, false}, {"u1", "", true, false}, {"", "u2", true, false},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				var up atomic.Bool
				w.sink.Fail(func([]pipeline.Event) error {
					if !up.Load() {
						return errors.New("down")
					}
					return nil
				})
				const both = ends + "  steps: [{name: m, window: {tumbling: 1m, aggregate: {sum: sum(event.data.v)}}}]"
				p := parse(t, both)
				p.UID = c.first
				w.run(p)
				w.emit("a", obj(1.0), obj("x")) // the second is a dead letter
				w.pass(time.Minute)             // a result waits in the queue
				w.emit("b", obj(2.0))           // a window is open
				next := parse(t, both)
				next.UID = c.second
				if c.restart {
					w.stop()
					up.Store(true)
					w.run(next)
				} else {
					up.Store(true)
					w.Apply([]*v1alpha1.Pipeline{next})
				}
				w.pass(time.Second)
				w.emit("c", obj(4.0))
				w.pass(3 * time.Minute)
				var sums []any
				for _, e := range w.sink.Events() {
					sums = append(sums, e.Data.(map[string]any)["sum"])
				}
				want, dead := "[1 6]", 1
				if c.anew {
					want, dead = "[4]", 0
				}
				if n := len(w.queues.Dead(w.only().Ref)); fmt.Sprint(sums) != want || n != dead {
					t.Errorf("windows %v and %d dead letters, want %s and %d", sums, n, want, dead)
				}
				w.stop()
			})
		})
	}
}
