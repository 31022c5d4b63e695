package jobs

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// prepareSettings checks the new settings whole. If edgecore would start with them, the job
// begins.
func (r *Runner) prepareSettings(ctx context.Context, name string) error {
	rec, ok := r.current(ctx, name)
	if !ok {
		return nil
	}
	changes, err := false, errors.New("this node does not change its settings: its edgecore was started with --no-upgrades")
	reason := ReasonUnsupported
	if r.cfg.Settings != nil {
		reason = ReasonInvalidSettings
		changes, err = r.cfg.Settings.Check(values(rec.Job.ConfigUpdate))
		if err == nil && changes {
			if _, err := r.settle(ctx, name, gateOf(rec.Job.ConfigUpdate.Health, rec.Job.ConfigUpdate.RollbackOnFailure)); err != nil {
				return err
			}
		}
		if _, unknown := errors.AsType[*UnknownKeyError](err); unknown {
			reason = ReasonUnknownKey
		}
	}
	_, err = r.changeFrom(ctx, name, stepNew, func(next *record) {
		now := r.cfg.Now()
		if err != nil {
			next.set(v1alpha2.ActionCheck, metav1.ConditionFalse, err.Error(), now)
			next.end(v1alpha2.NodeFailure, reason, err.Error(), now)
			return
		}
		next.accept(now)
		next.set(v1alpha2.ActionCheck, metav1.ConditionTrue, "", now)
		if !changes {
			next.end(v1alpha2.NodeSuccessful, ReasonUpToDate, "the node has these settings", now)
			return
		}
		next.Step = stepSwitched
		next.set(v1alpha2.ActionBackUp, metav1.ConditionTrue, "", now)
		next.set(v1alpha2.ActionUpdate, metav1.ConditionUnknown, "", now)
	})
	if err != nil {
		return err
	}
	if rec, _ = r.current(ctx, name); rec.Step != stepSwitched {
		return r.sayNotSettling(ctx, name)
	}
	r.send(ctx)
	return r.switchSettings(ctx, name)
}

// switchSettings begins the trial, and has the program start again. It is done again when the power
// was cut before the trial had begun.
func (r *Runner) switchSettings(ctx context.Context, name string) error {
	rec, ok := r.current(ctx, name)
	if !ok {
		return nil
	}
	want := rec.Job.ConfigUpdate
	h := gateOf(want.Health, want.RollbackOnFailure)
	if err := r.settleAccepted(ctx, name, h); err != nil {
		return err
	}
	if err := r.cfg.Settings.Switch(ctx, rec.Job.UID, values(want), h); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return r.change(ctx, name, func(next *record) { next.end(v1alpha2.NodeFailure, ReasonSwitchFailed, err.Error(), r.cfg.Now()) })
	}
	r.log.Info("edgecore starts again with changed settings", "job", rec.Job.Name)
	r.cfg.Restart()
	return nil
}

func values(c *ConfigUpdate) map[string]string {
	out := make(map[string]string, len(c.UpdateFields))
	for key, value := range c.UpdateFields {
		out[key] = string(value)
	}
	return out
}
