package host

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/child"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
)

// Reasons of failures that edgecore itself reports; v1alpha1 has the others.
const (
	ReasonNoProgram = "NoProgram" // edgepipe is missing
	ReasonCrashing  = "ProgramCrashes"
	ReasonTooMany   = "TooMany"
)

// report writes reports until ctx ends: each at once when it changes, and then at most every
// Config.StatusEvery.
func (h *Host) report(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.wake:
		case <-timer.C:
		}
		if next := h.reportDue(ctx, time.Now()); next > 0 {
			timer.Reset(next)
		}
	}
}

// reportDue writes the reports that are due and returns when the next one is; 0 if none waits.
// MetaManager drops a report that repeats the last.
func (h *Host) reportDue(ctx context.Context, now time.Time) (next time.Duration) {
	later := func(d time.Duration) {
		if next == 0 || d < next {
			next = d
		}
	}
	h.mu.Lock()
	due := make(map[meta.Key]wire.Report)
	for key := range h.pipelines {
		if wait := h.reported[key].Add(h.cfg.StatusEvery).Sub(now); wait > 0 {
			later(wait)
			continue
		}
		if r, ok := h.reportLocked(key, now); ok {
			due[key] = r
			h.reported[key] = now
		}
	}
	h.mu.Unlock()
	for key, r := range maps.All(due) {
		if err := h.write(ctx, key, &r); err != nil && ctx.Err() == nil {
			h.log.Warn("the status of a pipeline cannot be reported yet", "pipeline", key.String(), "err", err)
			h.mu.Lock()
			delete(h.reported, key)
			h.mu.Unlock()
			later(h.cfg.StatusEvery)
		}
	}
	return next
}

func (h *Host) write(ctx context.Context, key meta.Key, r *wire.Report) error {
	body, err := r.Encode()
	if err != nil {
		return err
	}
	h.mu.Lock()
	wanted := h.pipelines[key] != nil
	h.mu.Unlock()
	if !wanted {
		return nil
	}
	key.Resource = wire.Reports
	err = h.cfg.Reporter.Update(ctx, meta.Object{Key: key, Body: body})
	if errors.Is(err, meta.ErrTooLarge) { // Encode has bounded it
		return fmt.Errorf("bus/pipeline/host: %w", err)
	}
	return err
}

// reportLocked is what the node says of a Pipeline now; false while edgepipe has said nothing.
// It needs mu.
func (h *Host) reportLocked(key meta.Key, now time.Time) (wire.Report, bool) {
	p := h.pipelines[key]
	failed := func(reason, message string, at time.Time) (wire.Report, bool) {
		return wire.Report{UID: p.uid, Generation: p.generation, State: wire.Failed, Failures: []wire.Failure{{Reason: reason, Message: message, Time: at}}}, true
	}
	switch {
	case p.tooMany:
		return failed(ReasonTooMany, fmt.Sprintf("the node runs %d pipelines at most, the first by namespace and name: remove some, or select other nodes", MaxPipelines), time.Time{})
	case h.state.Reason == child.ReasonMissing:
		return failed(ReasonNoProgram, h.state.Message+" (edgecore --pipelines-program)", h.state.Since)
	case h.state.Reason == child.ReasonCrashing:
		return failed(ReasonCrashing, h.state.Message, h.state.Since)
	}
	r, ok := h.statuses[key]
	if !ok {
		// Before edgepipe has said anything, the last report stays; a new Pipeline has none.
		r = wire.Report{State: wire.Starting}
	}
	if r.UID == "" {
		r.UID, r.Generation = p.uid, p.generation
	}
	if other := h.otherVersionLocked(); other != "" && r.State == wire.Failed && len(r.Failures) > 0 {
		r.Failures = slices.Clone(r.Failures)
		r.Failures[0].Message = wire.Clip(r.Failures[0].Message, wire.MaxMessage-len(other)) + other
	}
	return r, ok || h.reported[key].IsZero() && now.After(h.state.Since)
}

// otherVersionLocked is what to say with a failure when edgepipe is of another release: it may not
// know what the Pipeline uses. It is empty when they are of one. It needs mu.
func (h *Host) otherVersionLocked() string {
	if h.cfg.Version == "" || h.version == "" || h.version == h.cfg.Version {
		return ""
	}
	return fmt.Sprintf(" (edgepipe is %s and edgecore %.63s: install the package edgekit-edgecore of edgecore's release)", h.version, h.cfg.Version)
}
