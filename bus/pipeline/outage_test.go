package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/queue"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// TestOutage: a sink takes nothing for an hour, and its queue on the disk is at its bound nearly all
// of that time. With overflow Block the source waits, and each event arrives once.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		queues, err := queue.New(queue.Config{Store: w.store})
		if err != nil {
			t.Fatal(err)
		}
		cfg := w.config()
		cfg.Queues = queues
		r, err := pipeline.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.sink.Fail(func([]pipeline.Event) error { return errors.New("the link is cut") })
		p := parse(t, strings.Replace(ends, "file: {path: x}", "queue: {maxSize: 1Mi, overflow: Block}, file: {path: x}", 1))
		r.Apply([]*v1alpha1.Pipeline{p})
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() {
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
		})
		const count = 900
		text := strings.Repeat("x", 4<<10)
		for i := range count { // 3.5 MiB in the hour, the bound after a third of it
			w.source.Emit(pipeline.Event{ID: fmt.Sprint(i), Data: map[string]any{"text": text}})
			w.pass(time.Hour / count)
		}
		if s := r.Status()[0].Steps[1]; !s.Queue.Blocked || s.Queue.Dropped != 0 || w.source.Safe() > count/2 {
			t.Errorf("after the hour %+v, %d of %d events are safe", s.Queue, w.source.Safe(), count)
		}
		w.sink.Fail(nil)
		w.pass(5 * time.Minute) // the sink is tried each minute
		seen := make(map[string]int)
		for _, e := range w.sink.Events() {
			seen[e.ID]++
		}
		for i := range count {
			if n := seen[fmt.Sprint(i)]; n != 1 {
				t.Errorf("event %d arrived %d times", i, n)
			}
		}
		if w.source.Safe() != count {
			t.Errorf("%d events are safe", w.source.Safe())
		}
		cancel()
		work.Wait()
	})
}
