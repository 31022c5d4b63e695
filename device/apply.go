package device

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// errInvalid is wrapped by the error of a write that is not tried again: the value can never be
// written.
var errInvalid = errors.New("invalid value")

// apply writes the desired values that the device does not have yet. A value that
// failed waits for its back-off; a new value is written at once.
func (w *worker) apply(ctx context.Context) {
	for _, p := range w.points {
		if _, ok := w.desired[p.name]; !ok && (p.isApplied || p.isRejected || p.writes.failed > 0 || p.writeProblem.reason != "") {
			p.isApplied, p.isRejected, p.applied, p.writes = false, false, "", attempts{}
			w.setProblem(&p.writeProblem, problem{})
			w.endFault(unwritable, p.name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.desired)) {
		p := w.byName[name]
		if p == nil || p.transform == nil || ctx.Err() != nil || w.broken != nil {
			continue
		}
		if !p.writable {
			if p.model == nil {
				w.setProblem(&p.writeProblem, problem{"NotInModel", "the device's model does not have the property: it is not written"})
			}
			continue
		}
		w.applyOne(ctx, p, w.desired[name])
	}
}

// applyOne writes one desired value if the device does not have it and it is time.
func (w *worker) applyOne(ctx context.Context, p *point, value string) {
	if p.isRejected && p.rejected == value {
		return
	}
	p.isRejected = false
	if p.isApplied && p.applied == value {
		if p.writes.failed > 0 && time.Since(p.writes.next) > 64*w.cfg.Backoff {
			p.writes = attempts{value: value} // the device has kept it
		}
		return
	}
	if p.writes.value != value {
		p.writes = attempts{value: value}
	}
	if time.Now().Before(p.writes.next) {
		return
	}
	fresh := !p.isApplied && p.applied == ""
	if fresh || p.writes.failed > 0 { // the device may have it already
		if w.read(ctx, p) && p.isHeld && p.same(p.held, value) {
			w.applied(p, value)
			return
		}
	}
	if ctx.Err() != nil || w.broken != nil {
		return
	}
	switch err := w.write(ctx, p, value); {
	case ctx.Err() != nil:
	case errors.Is(err, errInvalid):
		p.isRejected, p.rejected = true, value // it is not tried again
		p.isApplied = false
		w.setProblem(&p.writeProblem, problemOf("InvalidValue", err))
		w.beginFault(unwritable, p.name, err)
	case err != nil:
		w.failedWrite(p, "WriteFailed", redact(err, w.secrets))
	default:
		w.readBack(ctx, p, value)
	}
}

// applied says that the device has a desired value.
func (w *worker) applied(p *point, value string) {
	p.isApplied, p.applied = true, value
	w.setProblem(&p.writeProblem, problem{})
	w.endFault(unwritable, p.name)
}

// failedWrite has a desired value be written again after its back-off.
func (w *worker) failedWrite(p *point, reason string, err error) {
	p.isApplied = false
	p.writes = p.writes.retry(w.cfg.Backoff)
	w.setProblem(&p.writeProblem, problemOf(reason, err))
	w.log.Warn("property cannot be written, trying again", "property", p.name, "failed", p.writes.failed, "err", err)
}

// readBack reads what the device has after a write.
func (w *worker) readBack(ctx context.Context, p *point, value string) {
	w.log.Info("property is written", "property", p.name, "value", value)
	p.isHeld = false
	p.isApplied, p.applied = false, value
	if !w.read(ctx, p) || !p.isHeld {
		w.applied(p, value) // it cannot be read: there is nothing to compare
		return
	}
	if p.same(p.held, value) {
		p.release(time.Now()) // who has set it waits for it
		if p.writes.failed > 0 {
			p.writes.next = time.Now()
		}
		w.applied(p, value)
		return
	}
	w.counts.notTaken.Add(1)
	w.failedWrite(p, "NotTaken", fmt.Errorf("the device has %.80q after %.80q was written", p.held, value))
}

// write checks a value and writes it once.
func (w *worker) write(ctx context.Context, p *point, value string) error {
	if err := p.checkWrite(value); err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	err := w.writeRaw(ctx, p, value)
	if !errors.Is(err, errInvalid) {
		count(&w.counts.writes, &w.counts.writeErrors, err)
	}
	return err
}

// writeRaw does the inverse of the property's transform, and writes what it gives.
func (w *worker) writeRaw(ctx context.Context, p *point, value string) error {
	name := "Write " + p.name
	if driver, ok := w.driver.(RawDriver); ok {
		var current []byte
		if p.transform.mask != 0 {
			var err error
			if current, err = driverCall(ctx, w, "Read "+p.name, func(ctx context.Context) ([]byte, error) { return driver.ReadRaw(ctx, p.name) }); err != nil {
				return err
			}
		}
		raw, err := p.transform.Encode(value, current)
		if err != nil {
			return fmt.Errorf("%w: %w", errInvalid, err)
		}
		_, err = driverCall(ctx, w, name, func(ctx context.Context) (none struct{}, err error) { return none, driver.WriteRaw(ctx, p.name, raw) })
		return err
	}
	current := ""
	if p.transform.mask != 0 {
		var err error
		if current, err = driverCall(ctx, w, "Read "+p.name, func(ctx context.Context) (string, error) { return w.driver.Read(ctx, p.name) }); err != nil {
			return err
		}
	}
	text, err := p.transform.EncodeText(value, current)
	if err != nil {
		return fmt.Errorf("%w: %w", errInvalid, err)
	}
	_, err = driverCall(ctx, w, name, func(ctx context.Context) (none struct{}, err error) { return none, w.driver.Write(ctx, p.name, text) })
	return err
}
