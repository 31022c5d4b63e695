package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// TestPushTo gives dead letters back to the source and the step that they are of, once a change
// of the pipeline has mended what was wrong.
func TestPushTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		p := parse(t, filtered)
		ref := pipeline.Ref{Namespace: p.Namespace, Name: p.Name}
		if w.run(); !errors.Is(w.PushTo(t.Context(), ref, "s", nil), pipeline.ErrNotFound) {
			t.Error("there is no such pipeline")
		}
		w.Apply([]*v1alpha1.Pipeline{p})
		w.pass(time.Second)
		w.emit("a", map[string]any{"w": 5.0}, []byte("{"))
		dead := w.queues.Dead(ref)
		if len(dead) != 2 || dead[0].Step != "s" || dead[1].Step != "in" {
			t.Fatalf("%+v", dead)
		}
		if err := w.PushTo(t.Context(), ref, "s", []pipeline.Event{dead[0].Event}); err != nil || len(w.queues.Dead(ref)) != 3 {
			t.Errorf("an event that fails again is a dead letter again: %v", err)
		}
		w.Apply([]*v1alpha1.Pipeline{parse(t, strings.Replace(filtered, "event.data.v", "event.data.w", 1))})
		w.pass(time.Second)
		if err := w.PushTo(t.Context(), ref, "s", []pipeline.Event{dead[0].Event}); err != nil {
			t.Error(err)
		}
		dead[1].Event.Data = []byte(`{"w":6}`)
		for range 2 { // the id is known by then, which is no reason to drop it
			if err := w.PushTo(t.Context(), ref, "in", []pipeline.Event{dead[1].Event}); err != nil {
				t.Error(err)
			}
		}
		w.pass(time.Second)
		if w.sent() != "a0 a1 a1" {
			t.Errorf("sent %s", w.sent())
		}
		for _, step := range []string{"out", "nobody"} {
			if err := w.PushTo(t.Context(), ref, step, nil); !errors.Is(err, pipeline.ErrNotFound) {
				t.Errorf("%s: %v", step, err)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_ = w.PushTo(ended, ref, "s", nil) // it returns, with or without an error
		w.stop()
		if err := w.PushTo(t.Context(), ref, "s", nil); !errors.Is(err, pipeline.ErrNotRunning) {
			t.Error(err)
		}
	})
}
