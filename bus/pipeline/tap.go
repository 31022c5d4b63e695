package pipeline

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of taps.
const (
	maxTaps       = 8 // of one pipeline
	defaultPerSec = 100
	defaultBytes  = 4096
)

// taps are the readers of one pipeline's live events.
type taps struct {
	count atomic.Int32 // of readers: nothing is done for an event without one

	mu      sync.Mutex
	steps   func(name string) bool // whether there is a source, step or sink
	readers []*tap
}

type tap struct {
	step   string
	events chan Event
	skip   atomic.Int64
	perSec int

	second int64 // the second of the last event, and how many it had; of the pipeline's goroutine
	have   int
}

// allow sets which steps may be looked at.
func (t *taps) allow(p *Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.steps = func(name string) bool { _, ok := p.byName[name]; return ok }
}

// offer gives an event to the readers. It does not wait.
func (t *taps) offer(now time.Time, step string, e Event) {
	if t.count.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.readers {
		if r.step != step {
			continue
		}
		if s := now.Unix(); s != r.second {
			r.second, r.have = s, 0
		}
		if r.have >= r.perSec {
			r.skip.Add(1)
			continue
		}
		r.have++
		select {
		case r.events <- e:
		default:
			r.skip.Add(1)
		}
	}
}

// show is Runner.Tap.
func (t *taps) show(ctx context.Context, req TapRequest, show func(TapEvent) error) error {
	if req.PerSec <= 0 {
		req.PerSec = defaultPerSec
	}
	if req.Bytes <= 0 {
		req.Bytes = defaultBytes
	}
	r := &tap{step: req.Step, perSec: req.PerSec, events: make(chan Event, 64)}
	t.mu.Lock()
	if t.steps == nil || !t.steps(req.Step) {
		t.mu.Unlock()
		return ErrNotFound
	}
	if len(t.readers) >= maxTaps {
		t.mu.Unlock()
		return ErrTaps
	}
	t.readers = append(t.readers, r)
	t.count.Add(1)
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.readers = slices.DeleteFunc(t.readers, func(o *tap) bool { return o == r })
		t.count.Add(-1)
	}()
	for n := 0; req.Events == 0 || n < req.Events; n++ {
		select {
		case <-ctx.Done():
			return nil
		case e := <-r.events:
			e.Data, _ = shorten(e.Data, req.Bytes)
			if err := show(TapEvent{Event: e, Skipped: r.skip.Swap(0)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// shorten returns data with at most so many bytes left of texts, lists and objects, and how
// many bytes of the limit are left.
func shorten(v any, limit int) (any, int) {
	const cut = "..."
	switch v := v.(type) {
	case string:
		if len(v) > limit {
			return v[:max(limit, 0)] + cut, 0
		}
		return v, limit - len(v) - 2
	case []byte:
		if len(v) > limit {
			return v[:max(limit, 0)], 0
		}
		return v, limit - len(v)
	case []any:
		var out []any
		for _, e := range v {
			if limit <= 0 {
				return append(out, cut), 0
			}
			e, limit = shorten(e, limit-1)
			out = append(out, e)
		}
		return out, limit
	case map[string]any:
		out := make(map[string]any)
		for _, k := range sortedKeys(v) {
			if limit <= 0 {
				out[cut] = cut
				return out, 0
			}
			out[k], limit = shorten(v[k], limit-len(k)-4)
		}
		return out, limit
	}
	return v, limit - 8
}
