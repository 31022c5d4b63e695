package twin

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// silent returns a Tick for each device that should have reported by now.
func (e *Engine) silent() []call {
	var calls []call
	now := e.now()
	for id, d := range e.devices { // only this goroutine writes to it
		if _, effects := d.tick(now); effects != nil {
			calls = append(calls, call{Call: Call{Device: id, Request: Tick{}}})
		}
	}
	return calls
}

// writeTimes writes what has changed in timestamps only. What the store refuses is tried
// again the next time.
func (e *Engine) writeTimes(ctx context.Context) error {
	written := 0
	for id, names := range e.later {
		d, ok := e.devices[id]
		ops := newOps()
		if ok {
			save := Save{}
			for name := range names {
				if _, kept := d.Twins[name]; kept {
					save.Twins = append(save.Twins, name)
				}
				save.Device = save.Device || name == ""
			}
			ops.add(id, save)
		}
		list, err := ops.list(map[string]*working{id: {device: d}})
		if err == nil && len(list) > 0 {
			_, err = e.store.Apply(ctx, list...)
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("twin: %w", err)
		}
		if err != nil {
			if skipped, ok := e.faults.Allow(); ok && ctx.Err() == nil {
				e.log.Error("twin store failed", "error", err, "timestamps", len(list), "skipped", skipped)
			}
			return nil
		}
		delete(e.later, id)
		written += len(list)
	}
	if written > 0 {
		e.log.Debug("timestamps of unchanged values are written", "records", written)
	}
	return nil
}

// keepForLater notes what of a commit writeTimes writes.
func (e *Engine) keepForLater(id string, save Save) {
	if len(save.Later) == 0 && !save.LaterDevice {
		return
	}
	names := e.later[id]
	if names == nil {
		names = make(map[string]struct{}, len(save.Later))
		e.later[id] = names
	}
	for _, name := range save.Later {
		names[name] = struct{}{}
	}
	if save.LaterDevice {
		names[""] = struct{}{}
	}
}
