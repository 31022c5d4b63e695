package pipeline_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
)

// hookStore calls a function before each Apply.
type hookStore struct {
	meta.Store
	hook func()
}

func (s *hookStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	s.hook()
	return s.Store.Apply(ctx, ops...)
}

// TestEndInTheMiddle ends a pipeline while it makes a part of many events durable. A source that
// remembers a place in a file must not hear that later events are safe without the rest of those.
func TestEndInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		var emitting, first, second atomic.Bool
		w.store = &hookStore{w.store, func() {
			if emitting.Load() {
				cancel()
			}
		}}
		cfg := w.config()
		cfg.Openers.Source = func(*v1alpha1.Source, pipeline.Env) (pipeline.Source, error) {
			return sourceFunc(func(ctx context.Context, emit pipeline.Emit) error {
				var events []pipeline.Event
				for i := range 1500 {
					events = append(events, pipeline.Event{ID: fmt.Sprint("a", i), Data: 1.0})
				}
				time.Sleep(time.Second)
				emitting.Store(true)
				_ = emit(context.WithoutCancel(ctx), events, func() { first.Store(true) })
				_ = emit(context.WithoutCancel(ctx), []pipeline.Event{{ID: "b", Data: 1.0}}, func() { second.Store(true) })
				return nil
			}), nil
		}
		r, err := pipeline.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.Apply([]*v1alpha1.Pipeline{parse(t, ends)})
		if err := r.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if !first.Load() || !second.Load() {
			t.Errorf("the first events are safe: %v, those after them: %v", first.Load(), second.Load())
		}
		if s := r.Status(); s[0].Steps[0].In != 1501 {
			t.Errorf("%+v", s)
		}
	})
}
