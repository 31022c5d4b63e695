package device

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// collect reads the properties that are due.
func (w *worker) collect(ctx context.Context) {
	now := time.Now()
	var due []*point
	for _, p := range w.points {
		if p.transform != nil && !now.Before(p.due) {
			due = append(due, p)
		}
	}
	if len(due) == 0 || ctx.Err() != nil {
		return
	}
	answered, asked := 0, 0
	if batch, ok := w.driver.(BatchReader); ok {
		for _, p := range due {
			p.due = now.Add(p.collect)
		}
		asked, answered = len(due), w.readMany(ctx, batch, due)
	} else {
		for _, p := range due {
			if ctx.Err() != nil || w.broken != nil {
				break
			}
			p.due = now.Add(p.collect)
			asked++
			if w.read(ctx, p) {
				answered++
			} else if errors.Is(w.lastRead, context.DeadlineExceeded) {
				break // the rest is still due: first see to what else there is to do
			}
		}
	}
	switch {
	case answered > 0:
		w.dead = 0
	case asked > 0:
		w.dead++
	}
}

// driverCall makes one call of the open driver.
func driverCall[T any](ctx context.Context, w *worker, name string, f func(context.Context) (T, error)) (T, error) {
	value, err := guarded(ctx, w.guard, name, f)
	if p := new(panicError); errors.As(err, &p) || errors.Is(err, errStuck) {
		w.broken = err
	}
	return value, err
}

// read reads one property and reports whether the device has answered.
func (w *worker) read(ctx context.Context, p *point) bool {
	if p.transform == nil {
		return false
	}
	if batch, ok := w.driver.(BatchReader); ok {
		return w.readMany(ctx, batch, []*point{p}) > 0
	}
	r, err := driverCall(ctx, w, "Read "+p.name, func(ctx context.Context) (r Reading, err error) {
		if raw, ok := w.driver.(RawDriver); ok {
			r.Raw, err = raw.ReadRaw(ctx, p.name)
			return r, err
		}
		r.Value, err = w.driver.Read(ctx, p.name)
		return r, err
	})
	r.Err = err
	if ctx.Err() != nil {
		return false
	}
	return w.accept(p, r)
}

// readMany reads properties together and returns how many the device has answered.
func (w *worker) readMany(ctx context.Context, driver BatchReader, points []*point) (answered int) {
	names := make([]string, len(points))
	for i, p := range points {
		names[i] = p.name
	}
	readings, err := driverCall(ctx, w, "ReadMany", func(ctx context.Context) (map[string]Reading, error) { return driver.ReadMany(ctx, names) })
	if ctx.Err() != nil {
		return 0
	}
	for _, p := range points {
		if w.accept(p, readingOf(readings, err, p.name)) {
			answered++
		}
	}
	return answered
}

// accept takes what was read of a property. It reports whether the device has answered. p is
// nil for a property that the device's spec does not have.
func (w *worker) accept(p *point, r Reading) bool {
	if p == nil {
		w.beginFault(invalid, "", errors.New("the driver has sent a property that is not in the device's spec: it is ignored"))
		return true
	}
	count(&w.counts.reads, &w.counts.readErrors, r.Err)
	if r.Err != nil {
		w.lastRead = r.Err
		p.failed++
		w.setProblem(&p.readProblem, problemOf("ReadFailed", redact(r.Err, w.secrets)))
		w.beginFault(unreadable, p.name, r.Err)
		return false
	}
	w.endFault(unreadable, p.name)
	value, err := w.decode(p, r)
	if err != nil {
		w.counts.invalid.Add(1)
		p.failed++
		w.setProblem(&p.readProblem, problemOf("InvalidValue", err))
		w.beginFault(invalid, p.name, err)
		return true
	}
	w.endFault(invalid, p.name)
	p.failed = 0
	if err := p.checkLimits(value); err != nil { // it is what the device has: the twin marks it
		w.setProblem(&p.readProblem, problemOf("OutOfRange", err))
	} else {
		w.setProblem(&p.readProblem, problem{})
	}
	w.compare(p, value)
	return true
}

// decode returns the value of a reading.
func (w *worker) decode(p *point, r Reading) (value string, err error) {
	if p.transform == nil {
		return "", errors.New(p.readProblem.message)
	}
	if r.Raw != nil {
		value, err = p.transform.Decode(r.Raw)
	} else {
		value, err = p.transform.DecodeText(r.Value)
	}
	if err != nil {
		return "", err
	}
	return value, p.check(value)
}

// compare takes the value that a property has, and notices when it no longer is the desired
// one that was written.
func (w *worker) compare(p *point, value string) {
	desired, ok := w.desired[p.name]
	if !ok {
		p.take(value)
		return
	}
	if p.equal(value, desired) {
		value = desired // "20" for "20.0", so that the twin's two values are equal
	}
	p.take(value)
	if !p.isApplied || p.applied != desired || p.same(value, desired) {
		return
	}
	p.isApplied = false
	p.writes = p.writes.retry(w.cfg.Backoff)
	w.setProblem(&p.writeProblem, problem{"NotTaken", fmt.Sprintf("the device was written and now has %.80q: it is written again", value)})
	w.log.Info("device no longer has the desired value, writing it again", "property", p.name, "value", value, "desired", desired)
}
