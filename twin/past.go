package twin

import (
	"context"
	"errors"
	"net"

	"github.com/edgekit/edgekit/twin/history"
)

// History returns past actual values of a property whose Rule.History keeps some, also those
// that are not on disk yet. It fails with CodeUnknown for a device that is not known, with
// CodeInvalid for a query that is not valid, and with CodeInternal when the store fails.
func (e *Engine) History(ctx context.Context, q history.Query) (history.Page, error) {
	if _, ok := e.Device(q.Device); !ok {
		return history.Page{}, refusal(CodeUnknown, "device is not known on this node")
	}
	if e.past == nil {
		return history.Page{}, nil
	}
	if q.Limit < 0 || q.Limit > history.MaxValues {
		return history.Page{}, refusal(CodeInvalid, "limit is %d: it must be from 1 to %d, or 0 for %d", q.Limit, history.MaxValues, history.DefaultValues)
	}
	page, err := e.past.Query(ctx, q)
	if err != nil && ctx.Err() == nil {
		return page, refusal(CodeInternal, "the store failed: %v", err)
	}
	return page, err
}

// loadHistory reads which past values there are.
func (e *Engine) loadHistory(ctx context.Context) error {
	if e.past == nil {
		return nil
	}
	err := e.past.Load(ctx, func(device, property string) history.Limit { return e.devices[device].Twins[property].Rule.History })
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// remember adds the past values of a batch that is in the store to the history, and removes
// the history of what is gone.
func (e *Engine) remember(j *job) {
	if e.past == nil {
		return
	}
	for _, r := range j.put {
		e.forget(r.before, r.after)
	}
	for i := range j.commits {
		c := &j.commits[i]
		for _, effect := range c.Effects {
			past, ok := effect.(Past)
			if !ok {
				continue
			}
			twins := j.fresh[c.Device].device.Twins
			for _, name := range sortedKeys(past.Values) {
				v := past.Values[name]
				if e.past.Append(c.Device, name, twins[name].Rule.History, history.Entry{Time: v.Time, Value: v.Value, Fault: v.Fault}) {
					e.urgent = true
				}
			}
		}
	}
}

// forget removes the history of properties that a Put or Remove has removed, or that are no
// longer to have one.
func (e *Engine) forget(before, after Device) {
	anew := before.Member.Incarnation != after.Member.Incarnation
	for name, t := range before.Twins {
		if t.Rule.History.IsZero() {
			continue
		}
		if anew || after.ID == "" {
			e.past.Keep(before.ID, name, history.Limit{})
			e.urgent = true // another device with this ID must never show them
			continue
		}
		e.past.Keep(before.ID, name, after.Twins[name].Rule.History)
	}
}

// flushHistory writes new past values. What the store refuses is tried again the next time.
func (e *Engine) flushHistory(ctx context.Context) error {
	e.urgent = false
	if e.past == nil {
		return nil
	}
	err := e.past.Flush(ctx)
	if errors.Is(err, net.ErrClosed) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		if skipped, ok := e.faults.Allow(); ok {
			e.log.Error("past values cannot be stored yet", "err", err, "lost", e.past.Lost(), "skipped", skipped)
		}
	}
	return nil
}
