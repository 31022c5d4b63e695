package device

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// conditionsPause is the time until conditions are reported again that nobody has answered.
const conditionsPause = 10 * time.Minute

// call bounds one call of the link.
func (w *worker) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Timeout)
	defer cancel()
	return f(ctx)
}

// setState keeps a state for flush unless it is the one last reported. A device that
// is not offline is reported again when nothing else was for a Heartbeat.
func (w *worker) setState(state string) {
	w.state = ""
	if state != w.last || alive(state) && time.Since(w.sent) >= Heartbeat {
		w.state = state
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.current = state
}

// alive reports whether a state says that the device answers.
func alive(state string) bool { return state == Online || state == Unhealthy }

// releaseHeld makes the values pending whose report is due.
func (w *worker) releaseHeld(now time.Time) {
	for _, p := range w.points {
		if p.isHeld && !now.Before(p.reportDue(p.held)) {
			p.release(now)
		}
	}
}

// flush reports what is pending, unless its back-off lasts.
func (w *worker) flush(ctx context.Context) {
	if w.dirty {
		w.dirty = false
		w.setConditions()
	}
	if w.isReported() || time.Now().Before(w.reports.next) {
		return
	}
	if err := w.sendAll(ctx); err != nil {
		w.reports = w.reports.retry(w.cfg.Backoff)
		w.counts.reportErrors.Add(1)
		if ctx.Err() == nil {
			w.log.Warn("values are not reported, trying again", "failed", w.reports.failed, "err", err)
		}
		return
	}
	w.reports = attempts{}
}

// isReported says that nothing is pending.
func (w *worker) isReported() bool {
	return w.state == "" && (len(w.unsent) == 0 || time.Now().Before(w.conditionsAt)) && !slices.ContainsFunc(w.points, func(p *point) bool { return p.isPending })
}

// sendAll reports the state, the conditions and the values.
func (w *worker) sendAll(ctx context.Context) error {
	if err := w.sendState(ctx); err != nil {
		return err
	}
	if err := w.sendValues(ctx); err != nil {
		return err
	}
	return w.sendConditions(ctx)
}

// sendValues reports the values that are pending.
func (w *worker) sendValues(ctx context.Context) error {
	values := make(map[string]string)
	for _, p := range w.points {
		if p.isPending {
			values[p.name] = p.pending
		}
	}
	if len(values) == 0 {
		return nil
	}
	err := w.send(ctx, values)
	if errors.Is(err, ErrRefused) {
		err = w.sendEach(ctx, values)
	} else if err == nil {
		for name := range values {
			w.endFault(refused, name)
			w.setProblem(&w.byName[name].linkProblem, problem{})
		}
	}
	if err == nil {
		for name := range values {
			w.byName[name].isPending = false
		}
		w.sent = time.Now()
	}
	return err
}

// sendEach reports values one by one: one that is refused must not hold back the others.
func (w *worker) sendEach(ctx context.Context, values map[string]string) (err error) {
	for name, value := range values {
		one := w.send(ctx, map[string]string{name: value})
		switch {
		case errors.Is(one, ErrRefused):
			w.beginFault(refused, name, one)
			w.setProblem(&w.byName[name].linkProblem, problemOf("Refused", one))
		case one != nil:
			err = one
		default:
			w.endFault(refused, name)
			w.setProblem(&w.byName[name].linkProblem, problem{})
		}
	}
	return err
}

func (w *worker) sendState(ctx context.Context) error {
	if w.state == "" {
		return nil
	}
	state := func(s string) error {
		return w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.State(ctx, w.dev.ID, s) })
	}
	err := state(w.state)
	if w.state == Disabled && errors.Is(err, ErrRefused) {
		err = state(Unknown) // the other end does not have the word
	}
	if err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	w.last, w.state, w.sent = w.state, "", time.Now()
	return nil
}

func (w *worker) sendConditions(ctx context.Context) error {
	link, ok := w.cfg.Link.(ConditionLink)
	if !ok || len(w.unsent) == 0 || time.Now().Before(w.conditionsAt) {
		return nil
	}
	var list []Condition
	for _, typ := range slices.Sorted(maps.Keys(w.unsent)) {
		list = append(list, w.unsent[typ])
	}
	err := w.call(ctx, func(ctx context.Context) error { return link.Conditions(ctx, w.dev.ID, list) })
	if errors.Is(err, context.DeadlineExceeded) { // values do not wait for an older edgecore, which does not know conditions
		w.conditionsAt = time.Now().Add(conditionsPause)
		return nil
	}
	if err != nil && !errors.Is(err, ErrRefused) {
		return err
	}
	clear(w.unsent) // only this goroutine adds
	return nil
}

func (w *worker) send(ctx context.Context, values map[string]string) error {
	err := w.call(ctx, func(ctx context.Context) error { return w.cfg.Link.Report(ctx, w.dev.ID, maps.Clone(values)) })
	if err == nil {
		w.counts.reports.Add(1)
		w.counts.points.Add(int64(len(values)))
	}
	return err
}

// reportPause is how long the worker may wait until something is to be reported.
func (w *worker) reportPause(now time.Time, rest time.Duration) time.Duration {
	if !w.isReported() {
		rest = min(rest, w.reports.next.Sub(now))
	}
	return max(rest, 0)
}

// pause is how long the worker may wait for events.
func (w *worker) pause(now time.Time) time.Duration {
	rest := w.reportPause(now, 64*w.cfg.Backoff)
	if alive(w.last) && w.isReported() && w.dead == 0 {
		rest = min(rest, w.sent.Add(Heartbeat).Sub(now))
	}
	for _, p := range w.points {
		if p.transform == nil {
			continue
		}
		rest = min(rest, p.due.Sub(now))
		if p.isHeld {
			rest = min(rest, p.reportDue(p.held).Sub(now))
		}
		if p.writes.failed > 0 && !p.isApplied {
			rest = min(rest, p.writes.next.Sub(now))
		}
	}
	return max(rest, 0)
}
