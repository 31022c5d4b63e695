package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// replay gives dead letters back to where they failed.
func (h *Handler) replay(w http.ResponseWriter, r *http.Request) {
	n, err := h.replayAll(r.Context(), ref(r.URL.Query()), r.URL.Query()["id"])
	counted(w, n, err)
}

// replayAll gives the dead letters with the ids, or all, back to the steps and sinks that they are
// of, and returns how many. What cannot be given back stays.
func (h *Handler) replayAll(ctx context.Context, ref pipeline.Ref, ids []string) (int64, error) {
	steps, err := h.steps(ref)
	if err != nil {
		return 0, err
	}
	sinks, err := h.ofSinks(ctx, ref, steps, ids)
	if err != nil {
		return 0, err
	}
	n, err := h.replaySteps(ctx, ref, steps, ids)
	if err == nil {
		err = h.onThose(ctx, ref, sinks, func(ids []string) error {
			more, err := h.cfg.Queues.Replay(ctx, ref, ids)
			n += more
			return err
		})
	}
	return n, err
}

// onThose calls do with ids of dead letters. Letters of events that fail again make the oldest
// ones go when there are too many: if one is gone do fails, and is called with those that are left.
func (h *Handler) onThose(ctx context.Context, ref pipeline.Ref, ids []string, do func(ids []string) error) error {
	for len(ids) > 0 { // without ids it would be called for all
		failed := do(ids)
		if !errors.Is(failed, pipeline.ErrNotFound) {
			return failed
		}
		wanted := idSet(ids)
		var left []string
		err := h.cfg.Queues.DeadLetters(ctx, ref, func(id string, _ pipeline.DeadLetter) error {
			if wanted[id] {
				left = append(left, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(left) == len(ids) {
			return failed
		}
		ids = left
	}
	return nil
}

// ofSinks returns the ids of the dead letters that are of no source and no step. One that is not
// there is an error.
func (h *Handler) ofSinks(ctx context.Context, ref pipeline.Ref, steps map[string]bool, ids []string) ([]string, error) {
	wanted := idSet(ids)
	var out []string
	err := h.cfg.Queues.DeadLetters(ctx, ref, func(id string, l pipeline.DeadLetter) error {
		if wanted == nil || wanted[id] {
			delete(wanted, id)
			if !steps[l.Step] {
				out = append(out, id)
			}
		}
		return nil
	})
	if err == nil && len(wanted) > 0 {
		for id := range wanted {
			return nil, fmt.Errorf("%w: dead letter %.40q", pipeline.ErrNotFound, id)
		}
	}
	return out, err
}

// steps are the names of the sources and steps of a pipeline. One that has not run yet does not
// know them.
func (h *Handler) steps(ref pipeline.Ref) (map[string]bool, error) {
	out := make(map[string]bool)
	for _, s := range h.cfg.Runner.Status() {
		if s.Ref != ref {
			continue
		}
		if len(s.Steps) == 0 {
			return nil, pipeline.ErrNotRunning
		}
		for _, step := range s.Steps {
			out[step.Name] = step.Part != pipeline.PartSink
		}
	}
	return out, nil
}

// idSet is a set of ids; nil means all.
func idSet(ids []string) map[string]bool {
	if len(ids) == 0 {
		return nil
	}
	out := make(map[string]bool, len(ids))
	for _, id := range ids {
		out[id] = true
	}
	return out
}

// Bounds of the dead letters that are given back at once.
const (
	maxReplay      = 100
	maxReplayBytes = pipeline.MaxEvent
)

// replaySteps gives dead letters back to their sources and steps, those of one step together.
func (h *Handler) replaySteps(ctx context.Context, ref pipeline.Ref, steps map[string]bool, ids []string) (count int64, err error) {
	wanted := idSet(ids)
	var step string
	var letters []string
	var events []pipeline.Event
	size := 0
	flush := func() error {
		if len(events) == 0 {
			return nil
		}
		if err := h.cfg.Runner.PushTo(ctx, ref, step, events); err != nil {
			return err
		}
		err := h.onThose(ctx, ref, letters, func(ids []string) error {
			_, err := h.cfg.Queues.DropDead(ctx, ref, ids)
			return err
		})
		count += int64(len(events))
		letters, events, size = nil, nil, 0 // the events are the pipeline's now
		return err
	}
	err = h.cfg.Queues.DeadLetters(ctx, ref, func(id string, l pipeline.DeadLetter) error {
		if wanted != nil && !wanted[id] || !steps[l.Step] || l.Event.ID == "" { // a panic at the end of a window has no event
			return nil
		}
		n := l.Event.Size()
		if l.Step != step || len(events) == maxReplay || size+n > maxReplayBytes {
			if err := flush(); err != nil {
				return err
			}
		}
		step, letters, events = l.Step, append(letters, id), append(events, l.Event)
		size += n
		return nil
	})
	if err == nil {
		err = flush()
	}
	return count, err
}
