package jobs

import (
	"context"
	"fmt"
	"strings"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// Reasons of a node's phase that the node gives.
const (
	ReasonWaitingForConfirmation = "WaitingForConfirmation" // Pending: somebody at the machine must say yes
	ReasonDownloading            = "Downloading"            // Pending: the artefact is fetched and verified
	ReasonSettling               = "Settling"               // Pending or InProgress: the node has just started; it waits for its pods, see the message
	ReasonRefused                = "Refused"                // Failure: somebody at the machine said no
	ReasonCheckFailed            = "CheckFailed"            // Failure: a check item
	ReasonDownloadFailed         = "DownloadFailed"         // Failure: the artefact, its signature or its format
	ReasonSwitchFailed           = "SwitchFailed"           // Failure: the trial could not begin
	ReasonUnhealthy              = "Unhealthy"              // RolledBack: the trial failed, see the message
	ReasonUpToDate               = "UpToDate"               // Successful: there was nothing to change
	ReasonUnknownKey             = "UnknownKey"             // Failure: there is no such setting
	ReasonInvalidSettings        = "InvalidSettings"        // Failure: edgecore would not start with them
	ReasonImagesFailed           = "ImagesFailed"           // Failure: some images could not be pulled, see imageStatus
	ReasonUnsupported            = "Unsupported"            // Failure: this node cannot do such jobs
)

// reconcile looks at all jobs, and begins what is next. What it starts is added to group.
func (r *Runner) reconcile(ctx context.Context, group *sync.WaitGroup) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.listed {
		return nil
	}
	if !r.loaded {
		if err := r.loadLocked(ctx); err != nil {
			return err
		}
	}
	if err := r.syncLocked(ctx); err != nil {
		return err
	}
	for _, name := range r.namesLocked() {
		if err := r.advanceLocked(ctx, name); err != nil {
			return err
		}
	}
	if err := r.beginLocked(ctx, group); err != nil {
		return err
	}
	return r.sendLocked(ctx)
}

// syncLocked brings the records in step with the jobs that the cloud has for this node.
func (r *Runner) syncLocked(ctx context.Context) error {
	for _, name := range r.namesLocked() {
		rec, job := r.records[name], r.jobs[name]
		if rec.Local != nil {
			continue
		}
		switch {
		case job != nil && job.UID == rec.Job.UID:
			if job.Phase == rec.Job.Phase && job.Generation == rec.Job.Generation {
				continue
			}
			if err := r.changeLocked(ctx, name, func(next *record) {
				next.Job, next.Report.Generation = job.NodeJob, job.Generation
				if next.Step == stepDone {
					next.forgetSecret()
				}
			}); err != nil {
				return err
			}
		case rec.Step == stepSwitched: // gone, or another job has its name: it goes on to its end first
		case r.stopLocked(name):
			if err := r.dropLocked(ctx, name); err != nil {
				return err
			}
		}
	}
	for name, job := range r.jobs {
		if r.records[name] != nil {
			continue
		}
		rec := &record{Job: job.NodeJob, Order: job.revision, Report: Report{UID: job.UID, Generation: job.Generation}}
		rec.say(v1alpha2.NodePending, "", "")
		if job.Upgrade != nil {
			rec.Report.CurrentVersion = r.cfg.Version
		}
		if err := r.saveLocked(ctx, name, rec); err != nil {
			return err
		}
	}
	return nil
}

// stopLocked ends the work on a job, and reports whether there is none.
func (r *Runner) stopLocked(name string) bool {
	if r.at == nil || r.at.name != name {
		return true
	}
	r.at.cancel()
	return false
}

// dropLocked forgets a job that is not worked on, and undoes what it did to the node.
func (r *Runner) dropLocked(ctx context.Context, name string) error {
	if err := r.discardLocked(ctx, r.records[name]); err != nil {
		return err
	}
	return r.removeLocked(ctx, name)
}

// discardLocked removes what an upgrade has downloaded.
func (r *Runner) discardLocked(ctx context.Context, rec *record) error {
	if rec.Job.Upgrade == nil || r.cfg.Programs == nil || !rec.mayStop() || r.cfg.Programs.State().ID != rec.Job.UID {
		return nil
	}
	if err := r.cfg.Programs.Discard(ctx); err != nil {
		return fmt.Errorf("%s: what was downloaded stays: %w", rec.title(), err)
	}
	return nil
}

// advanceLocked does for one job what takes no time.
func (r *Runner) advanceLocked(ctx context.Context, name string) error {
	rec := r.records[name]
	switch {
	case rec.Step == stepDone:
		return nil
	case rec.Step == stepSwitched:
		return r.concludeLocked(ctx, name)
	case rec.Refused != nil:
		return r.giveUpLocked(ctx, name, ReasonRefused, "refused at the machine: "+*rec.Refused)
	case rec.permission() == v1alpha2.Cancelled && rec.Step != stepAccepted, rec.permission() == v1alpha2.Cancelled && rec.Job.ImagePrePull != nil:
		return r.giveUpLocked(ctx, name, v1alpha2.ReasonCancelled, "the job was cancelled")
	}
	if rec.permission() == v1alpha2.Paused && rec.Step != stepAccepted {
		if !r.stopLocked(name) {
			return nil
		}
		if rec.Report.Reason == ReasonSettling { // what said so was ended
			if err := r.changeLocked(ctx, name, func(next *record) { next.say(next.Report.Phase, "", "") }); err != nil {
				return err
			}
			rec = r.records[name]
		}
	}
	waits := rec.waitsForConfirmation() && rec.permission() == v1alpha2.Apply
	switch {
	case waits && rec.Waiting == nil:
		return r.changeLocked(ctx, name, func(next *record) {
			now := r.cfg.Now()
			at := metav1.NewTime(now.Truncate(0))
			next.Waiting = &at
			next.set(v1alpha2.ActionWaitingConfirmation, metav1.ConditionUnknown, "", now)
			next.say(v1alpha2.NodePending, ReasonWaitingForConfirmation, "confirm or refuse it at the machine: edgectl confirm, edgectl refuse")
		})
	case !waits && rec.Waiting != nil, rec.Step == stepChecked && rec.Confirmed && rec.permission() != v1alpha2.Apply:
		return r.changeLocked(ctx, name, func(next *record) {
			if next.permission() != v1alpha2.Apply { // it is another node's turn: a yes of now says nothing about later
				next.Confirmed = false
				next.unset(v1alpha2.ActionWaitingConfirmation)
				next.say(v1alpha2.NodePending, "", "")
			}
			next.Waiting = nil
		})
	}
	return nil
}

// giveUpLocked ends a job that has not begun, and leaves the node as it was.
func (r *Runner) giveUpLocked(ctx context.Context, name, reason, message string) error {
	if !r.stopLocked(name) {
		return nil
	}
	if err := r.discardLocked(ctx, r.records[name]); err != nil {
		return err
	}
	return r.changeLocked(ctx, name, func(next *record) { next.end(v1alpha2.NodeFailure, reason, message, r.cfg.Now()) })
}

// concludeLocked ends a job whose trial has ended.
func (r *Runner) concludeLocked(ctx context.Context, name string) error {
	rec := r.records[name]
	if rec.Job.ConfigUpdate != nil && r.cfg.Settings == nil || rec.Job.ConfigUpdate == nil && r.cfg.Programs == nil {
		return r.changeLocked(ctx, name, func(next *record) {
			next.end(v1alpha2.NodeFailure, ReasonUnsupported, "edgecore was started with --no-upgrades while the job was under way", r.cfg.Now())
		})
	}
	outcome := r.outcomeOf(rec)
	if outcome == nil {
		return nil
	}
	action := v1alpha2.ActionUpgrade
	if rec.Job.ConfigUpdate != nil {
		action = v1alpha2.ActionUpdate
	}
	return r.changeLocked(ctx, name, func(next *record) {
		now := r.cfg.Now()
		if rec.Job.ConfigUpdate == nil {
			next.Report.CurrentVersion = r.cfg.Version
		}
		if outcome.Phase == upgrade.Committed {
			next.set(action, metav1.ConditionTrue, "", now)
			next.end(v1alpha2.NodeSuccessful, "", "", now)
			return
		}
		next.set(action, metav1.ConditionFalse, outcome.Reason, now)
		next.set(v1alpha2.ActionRollBack, metav1.ConditionTrue, "", now)
		next.end(v1alpha2.NodeRolledBack, ReasonUnhealthy, outcome.Reason, now)
		next.Report.Log = r.trialLog()
	})
}

// trialLog is the end of the log of the latest trial, without secrets.
func (r *Runner) trialLog() string {
	if r.cfg.Programs == nil {
		return ""
	}
	text, err := r.cfg.Programs.Log()
	if err != nil {
		r.log.Warn("the log of the trial cannot be read whole", "err", err)
	}
	text = redact(strings.ToValidUTF8(text, "?"))
	return strings.ToValidUTF8(text[max(0, len(text)-MaxLog):], "")
}

// outcomeOf is how the trial of a job ended; nil if it did not yet.
func (r *Runner) outcomeOf(rec *record) *upgrade.Outcome {
	var outcome *upgrade.Outcome
	switch {
	case rec.Job.ConfigUpdate != nil && r.cfg.Settings != nil:
		if s := r.cfg.Settings.State(); s.Phase != upgrade.Trial {
			outcome = s.Outcome
		}
	case rec.Job.ConfigUpdate == nil && r.cfg.Programs != nil:
		if s := r.cfg.Programs.State(); s.Phase != upgrade.Trial {
			outcome = s.Outcome
		}
	}
	if outcome == nil || outcome.ID != rec.Job.UID {
		return nil
	}
	return outcome
}

// onTrial reports whether the trial of a job is on, or begins at the next start.
func (r *Runner) onTrial(rec *record) bool {
	if rec.Job.ConfigUpdate != nil {
		s := r.cfg.Settings.State()
		return s.Phase == upgrade.Trial && s.ID == rec.Job.UID
	}
	s := r.cfg.Programs.State()
	return s.Phase == upgrade.Trial && s.ID == rec.Job.UID
}
