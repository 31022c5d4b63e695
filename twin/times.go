package twin

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// timesBytes bounds a batch of timestamps: the next device has at most MaxBytes more, six times
// that in JSON if every byte is escaped, which a batch of the store still takes.
const timesBytes = 64 << 10

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

// writeTimes writes what has changed in timestamps only, many records in one batch. What the
// store refuses is tried again the next time.
func (e *Engine) writeTimes(ctx context.Context) error {
	written := 0
	for len(e.later) > 0 {
		var ids []string
		ops, devices, size := newOps(), make(map[string]*working), 0
		for id, names := range e.later {
			if len(ops.keys) >= batchLength || size > timesBytes {
				break
			}
			ids = append(ids, id)
			if d, ok := e.devices[id]; ok {
				ops.add(id, laterSave(d, names))
				devices[id] = &working{device: d}
				size += len(d.Member.Spec) + len(d.Member.Model)
				for name := range names {
					size += d.Twins[name].size()
				}
			}
		}
		list, err := ops.list(devices)
		if err == nil && len(list) > 0 {
			_, err = e.store.Apply(ctx, list...)
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("twin: %w", err)
		}
		if err != nil {
			if skipped, ok := e.faults.Allow(); ok && ctx.Err() == nil {
				e.log.Error("twin store failed", "err", err, "timestamps", len(list), "skipped", skipped)
			}
			return nil
		}
		for _, id := range ids {
			delete(e.later, id)
		}
		written += len(list)
	}
	if written > 0 {
		e.log.Debug("timestamps of unchanged values are written", "records", written)
	}
	return nil
}

// laterSave is a Save of what was noted of a device for later.
func laterSave(d Device, names map[string]struct{}) Save {
	save := Save{}
	for name := range names {
		if _, kept := d.Twins[name]; kept {
			save.Twins = append(save.Twins, name)
		}
		save.Device = save.Device || name == ""
	}
	return save
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
