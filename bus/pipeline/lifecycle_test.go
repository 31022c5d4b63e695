package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
)

// TestLifecycle holds "pipeline.Runner" to the rules of every Run.
func TestLifecycle(t *testing.T) {
	for _, name := range []string{"pipeline.Runner"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				r, err := pipeline.New(w.config())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- r.Run(ctx) }()
				synctest.Wait()
				if err := r.Run(ctx); !errors.Is(err, bus.ErrStarted) {
					t.Errorf("second Run: %v", err)
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run after cancel: %v", err)
				}
			})
		})
	}
}

func TestConfig(t *testing.T) {
	w := newWorld(t)
	for name, spoil := range map[string]func(*pipeline.Config){
		"Openers":      func(c *pipeline.Config) { c.Openers.Sink = nil },
		"Expressions":  func(c *pipeline.Config) { c.Expressions = nil },
		"Queues":       func(c *pipeline.Config) { c.Queues = nil },
		"Store":        func(c *pipeline.Config) { c.Store = nil },
		"MaxPipelines": func(c *pipeline.Config) { c.MaxPipelines = -1 },
	} {
		cfg := w.config()
		spoil(&cfg)
		if _, err := pipeline.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestSourceLifecycle holds "pipelinetest.Source" to the rules of a Source: cancel returns nil,
// and it may be run again.
func TestSourceLifecycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &pipelinetest.Source{}
		s.Emit(pipeline.Event{ID: "1"})
		for range 2 { // what is not safe is emitted again
			emitted := 0
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				done <- s.Run(ctx, func(_ context.Context, events []pipeline.Event, _ func()) error {
					emitted += len(events)
					return nil
				})
			}()
			synctest.Wait()
			cancel()
			if err := <-done; err != nil || emitted != 1 {
				t.Errorf("%d events, %v", emitted, err)
			}
		}
	})
}
