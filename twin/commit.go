package twin

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/edgekit/edgekit/meta"
)

// gather adds the calls that wait in the queue.
func (e *Engine) gather(batch []call) []call {
	for len(batch) < batchLength {
		select {
		case c := <-e.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit steps through the batch, writes it as one, and notifies subscribers and
// callers. It fails only when the store is closed, or when ctx ends before the
// batch is written.
func (e *Engine) commit(ctx context.Context, batch []call) error {
	now := e.now()
	fresh := make(map[string]Device, 8) // what the batch has changed so far
	commits := make([]Commit, len(batch))
	ops := newOps()
	for i, c := range batch {
		device, ok := fresh[c.Device]
		if !ok {
			device = e.devices[c.Device] // only this goroutine writes to it
		}
		next, effects := Step(device, Event{Device: c.Device, Time: now, Request: c.Request})
		if len(effects) > 0 {
			if save, ok := effects[0].(Save); ok {
				effects = effects[1:]
				ops.add(c.Device, next, save)
				e.keepForLater(c.Device, save)
				fresh[c.Device] = next
			}
		}
		commits[i] = Commit{Call: c.Call, Time: now, Effects: effects}
	}
	list, err := ops.list()
	if err == nil && len(list) > 0 {
		_, err = e.store.Apply(ctx, list...)
	}
	switch {
	case err == nil:
		e.adopt(fresh)
	case errors.Is(err, net.ErrClosed):
		return fmt.Errorf("twin: %w", err)
	case errors.Is(err, meta.ErrTooLarge) && len(batch) > 1:
		for _, c := range batch {
			if err := e.commit(ctx, []call{c}); err != nil {
				return err
			}
		}
		return nil
	case ctx.Err() != nil:
		// Run ends, and the callers of Do get ErrClosed.
		return ctx.Err()
	default:
		if skipped, ok := e.faults.Allow(); ok {
			e.log.Error("twin store failed", "error", err, "requests", len(batch), "skipped", skipped)
		}
		for i := range commits {
			commits[i].Effects = refuse(CodeInternal, "the store failed: %v", err)
		}
	}
	e.notify(batch, commits)
	return nil
}

// adopt publishes the devices of a batch to Device and Devices.
func (e *Engine) adopt(fresh map[string]Device) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, device := range fresh {
		if device.ID == "" {
			delete(e.devices, id)
		} else {
			e.devices[id] = device
		}
	}
}

// notify calls the subscribers, in the order of commits, and then answers the
// callers of Do.
func (e *Engine) notify(batch []call, commits []Commit) {
	e.mu.RLock()
	subs := e.subs
	e.mu.RUnlock()
	for _, c := range commits {
		for _, s := range subs {
			s.fn(c)
		}
	}
	for i, c := range batch {
		if c.done != nil {
			c.done <- commits[i]
		}
	}
}
