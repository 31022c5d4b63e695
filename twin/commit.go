package twin

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/edgekit/edgekit/meta"
)

// working is a device in a batch that is not written yet.
type working struct {
	device Device
	owned  bool // nobody else has device.Twins, so that it may be written to
}

// job is a batch that is carried out.
type job struct {
	calls   []call
	commits []Commit
	fresh   map[string]*working // what the batch has changed so far, by device
	ops     *opList
	put     []replaced // what Put and Remove have replaced, for the history
}

// replaced is a device before a Put or Remove.
type replaced struct{ before, after Device }

// commit steps through the batch, writes it as one, and notifies subscribers and
// callers. It fails only when the store is closed, or when ctx ends before the
// batch is written.
func (e *Engine) commit(ctx context.Context, batch []call) error {
	j := &job{calls: batch, commits: make([]Commit, len(batch)), fresh: make(map[string]*working), ops: newOps()}
	now := e.now()
	for i := range batch {
		c := &batch[i]
		w := j.fresh[c.Device]
		if w == nil {
			w = &working{device: e.devices[c.Device]} // only this goroutine writes to it
		}
		next, effects := w.device.step(Event{Device: c.Device, Time: now, Request: c.Request}, w.owned)
		if len(effects) > 0 {
			if save, ok := effects[0].(Save); ok {
				effects = effects[1:]
				j.save(c, w, next, save)
				e.keepForLater(c.Device, save)
			}
		}
		j.commits[i] = Commit{Call: c.Call, Time: now, Effects: effects}
	}
	list, err := j.ops.list(j.fresh)
	if err == nil && len(list) > 0 {
		_, err = e.store.Apply(ctx, list...)
	}
	switch {
	case err == nil:
		e.adopt(j)
		e.remember(j)
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("twin: %w", err)
	case errors.Is(err, meta.ErrTooLarge) && len(batch) > 1:
		half := len(batch) / 2
		if err := e.commit(ctx, batch[:half]); err != nil {
			return err
		}
		return e.commit(ctx, batch[half:])
	case ctx.Err() != nil:
		// Run ends, and the callers of Do get ErrClosed.
		return ctx.Err()
	default:
		if skipped, ok := e.faults.Allow(); ok {
			e.log.Error("twin store failed", "err", err, "requests", len(batch), "skipped", skipped)
		}
		for i := range j.commits {
			j.commits[i].Effects = refuse(CodeInternal, "the store failed: %v", err)
		}
	}
	e.notify(j)
	return nil
}

// save notes the new state of a device and what of it is to be written.
func (j *job) save(c *call, w *working, next Device, save Save) {
	before := w.device
	w.device, w.owned = next, false
	switch c.Request.(type) {
	case Update, Sync:
		w.owned = true
	case SetState, Tick:
		w.owned = false // a Put's Membership may have the same map
	default:
		j.put = append(j.put, replaced{before, next})
	}
	j.fresh[c.Device] = w
	j.ops.add(c.Device, save)
}

// adopt publishes the devices of a batch to Device and Devices.
func (e *Engine) adopt(j *job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.commits++
	for id, w := range j.fresh {
		if w.device.ID == "" {
			delete(e.devices, id)
		} else {
			e.devices[id] = w.device
		}
	}
}

// notify calls the subscribers, in the order of commits, and then answers the
// callers of Do.
func (e *Engine) notify(j *job) {
	e.mu.RLock()
	subs, number := e.subs, e.commits
	e.mu.RUnlock()
	for i := range j.commits {
		for _, s := range subs {
			if s.after < number {
				s.fn(j.commits[i])
			}
		}
	}
	for i := range j.calls {
		if c := &j.calls[i]; c.done != nil {
			c.done <- answer{index: c.index, commit: j.commits[i]}
		}
	}
}
