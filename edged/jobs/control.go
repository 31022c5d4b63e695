package jobs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// ErrNoJob says that no job waits for what was asked, or that none has the name.
var ErrNoJob = errors.New("jobs: there is no such job")

// RequestError says what is wrong with a request of somebody at the machine.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return "jobs: " + e.Reason }

func refuse(format string, args ...any) error {
	return &RequestError{Reason: fmt.Sprintf(format, args...)}
}

// status is what people see of a record.
func (r *Runner) status(rec *record) Status {
	s := Status{
		Kind: rec.Job.Kind, Name: rec.Job.Name, UID: rec.Job.UID, Local: rec.Local != nil,
		Phase: string(rec.Report.Phase), Reason: rec.Report.Reason, Message: rec.Report.Message, Log: rec.Report.Log,
	}
	if rec.Job.Upgrade != nil {
		s.Version, s.From = rec.Job.Upgrade.Version, rec.Report.HistoricVersion
		if s.From == "" {
			s.From = r.cfg.Version
		}
	}
	if rec.Waiting != nil {
		at := rec.Waiting.Time
		s.WaitingSince = &at
	}
	for _, a := range rec.Report.ActionFlow {
		text := fmt.Sprintf("%s %s", a.Action, a.Status)
		if a.Reason != "" {
			text += ": " + a.Reason
		}
		s.Actions = append(s.Actions, text)
	}
	return s
}

// Waiting returns the job that waits for a confirmation, of several the oldest.
func (r *Runner) Waiting() (Status, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range r.namesLocked() {
		if rec := r.records[name]; rec.Waiting != nil {
			return r.status(rec), true
		}
	}
	return Status{}, false
}

// List returns the jobs of the node, the oldest first, and what the upgrade of the program is at.
func (r *Runner) List() List {
	out := List{Items: []Status{}}
	if r.cfg.Programs != nil {
		if text, err := json.Marshal(r.cfg.Programs.State()); err == nil {
			out.Upgrade = text
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	out.Starting = !r.loaded
	for _, name := range r.namesLocked() {
		out.Items = append(out.Items, r.status(r.records[name]))
	}
	return out
}

// findLocked finds the record of a job by NAME or KIND/NAME, among those that fit. An empty name
// is the oldest of those.
func (r *Runner) findLocked(job string, fit func(*record) bool) (string, error) {
	kind, name, both := strings.Cut(job, "/")
	if !both {
		kind, name = "", job
	}
	var found []string
	for _, key := range r.namesLocked() {
		rec := r.records[key]
		if fit(rec) && (name == "" || rec.Job.Name == name) && (kind == "" || strings.EqualFold(rec.Job.Kind, kind)) {
			found = append(found, key)
		}
	}
	switch {
	case len(found) == 0:
		return "", ErrNoJob
	case len(found) > 1 && name != "":
		return "", refuse("several jobs have the name %.100q: say KIND/NAME, for example %s/%s", name, r.records[found[0]].Job.Kind, name)
	}
	return found[0], nil
}

// Confirm is somebody's yes at the machine to a job that waits for it: NAME, KIND/NAME, or empty
// for the one that waits. It returns when the yes is durable. ErrNoJob: no such job waits.
func (r *Runner) Confirm(ctx context.Context, job string) (Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, err := r.findLocked(job, func(rec *record) bool { return rec.Waiting != nil && rec.Refused == nil })
	if err != nil {
		return Status{}, err
	}
	if err := r.changeLocked(ctx, name, func(next *record) {
		next.Confirmed, next.Waiting = true, nil
		next.set(v1alpha2.ActionWaitingConfirmation, metav1.ConditionTrue, "confirmed at the machine", r.cfg.Now())
		next.say(v1alpha2.NodePending, "", "")
	}); err != nil {
		return Status{}, fmt.Errorf("jobs: the confirmation cannot be stored: %w", err)
	}
	r.log.Info("a job was confirmed at the machine", "job", r.records[name].Job.Name)
	r.notify()
	return r.status(r.records[name]), nil
}

// Refuse is somebody's no at the machine to a job that has not begun. It returns when the no is
// durable; the job then fails with the reason, and the node stays as it is. ErrNoJob: there is
// no such job that has not begun.
func (r *Runner) Refuse(ctx context.Context, no Refusal) (Status, error) {
	if len(no.Reason) > 1024 {
		return Status{}, refuse("the reason is longer than 1024 bytes")
	}
	reason := bound(strings.Join(strings.Fields(no.Reason), " "), 1024)
	if reason == "" {
		reason = "no reason given"
	}
	fit := func(rec *record) bool { return rec.mayStop() && rec.Step != stepAccepted }
	if no.Job == "" {
		fit = func(rec *record) bool { return rec.Waiting != nil }
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	name, err := r.findLocked(no.Job, fit)
	if err != nil {
		return Status{}, err
	}
	if err := r.changeLocked(ctx, name, func(next *record) {
		next.Refused, next.Waiting, next.Confirmed = &reason, nil, false
		if next.waitsForConfirmation() {
			next.set(v1alpha2.ActionWaitingConfirmation, metav1.ConditionFalse, reason, r.cfg.Now())
		}
	}); err != nil {
		return Status{}, fmt.Errorf("jobs: the refusal cannot be stored: %w", err)
	}
	r.log.Info("a job was refused at the machine", "job", r.records[name].Job.Name, "reason", reason)
	r.notify()
	return r.status(r.records[name]), nil
}

// Upgrade begins an upgrade that somebody at the machine asks for, as a job of this node alone. It
// returns when the job is durable.
func (r *Runner) Upgrade(ctx context.Context, want LocalUpgrade) (Status, error) {
	set := 0
	for _, s := range []string{want.File, want.OCI, want.HTTP} {
		if s != "" {
			set++
		}
	}
	switch {
	case r.cfg.Programs == nil:
		return Status{}, refuse("this node does not upgrade itself: its edgecore was started with --no-upgrades")
	case set != 1:
		return Status{}, refuse("give one of file, oci and http")
	case want.File != "" && !filepath.IsAbs(want.File):
		return Status{}, refuse("file %.200q is no absolute path", want.File)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.loaded {
		return Status{}, errors.New("jobs: the node is not ready yet: try again in a moment")
	}
	for _, name := range r.namesLocked() {
		rec := r.records[name]
		switch {
		case rec.Job.Upgrade == nil:
		case rec.Step != stepDone && (rec.Step != stepNew || rec.permission() != v1alpha2.Paused):
			return Status{}, refuse("%s is under way: wait for its end, or refuse it with: edgectl refuse %s", rec.title(), rec.Job.Name)
		case rec.Local != nil: // the upgrade before
			if err := r.removeLocked(ctx, name); err != nil {
				return Status{}, fmt.Errorf("jobs: %w", err)
			}
		}
	}
	revision, err := r.cfg.Store.Apply(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("jobs: %w", err)
	}
	now := r.cfg.Now()
	rec := &record{Local: &want, Order: revision, Job: NodeJob{
		Kind: v1alpha2.KindNodeUpgradeJob, Name: "local-" + now.UTC().Format("20060102-150405"), UID: "local-" + rand.Text(), Phase: v1alpha2.Apply,
		Upgrade: &Upgrade{
			OCI: want.OCI, HTTP: want.HTTP, Digest: v1alpha2.Digest(want.Digest), RollbackOnFailure: true,
			Health: Health{RequireLink: true, RequirePodsReady: true, Timeout: metav1.Duration{Duration: want.Timeout}, Stable: metav1.Duration{Duration: want.Stable}},
		},
	}}
	rec.Report.UID, rec.Report.CurrentVersion = rec.Job.UID, r.cfg.Version
	rec.say(v1alpha2.NodePending, "", "")
	name := localPrefix + rec.Job.Name
	if err := r.saveLocked(ctx, name, rec); err != nil {
		return Status{}, fmt.Errorf("jobs: the job cannot be stored: %w", err)
	}
	r.notify()
	return r.status(rec), nil
}

// Rollback goes back to the program before, and has the program start again: from a trial to the
// one that is committed, or else from that to the one before. The status says from which version
// to which. Repeated before the program has ended it changes nothing.
func (r *Runner) Rollback(ctx context.Context, want Rollback) (Status, error) {
	if r.cfg.Programs == nil {
		return Status{}, refuse("this node does not upgrade itself: its edgecore was started with --no-upgrades")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.cfg.Programs.State()
	switch {
	case r.back != nil && (want.To == "" || want.To == r.back.Version):
		return *r.back, nil
	case r.back != nil:
		return Status{}, refuse("the node is going back to %s: ask again when that runs", r.back.Version)
	case s.Before == "":
		return Status{}, refuse("there is nothing to go back to: the program of the package runs")
	case want.To != "" && want.To != s.Before:
		return Status{}, refuse("the node can go back to %s, and not to %.100s: upgrade to it instead", s.Before, want.To)
	}
	err := r.cfg.Programs.Rollback(ctx, "local-"+rand.Text(), "rolled back at the machine")
	if format, ok := errors.AsType[*upgrade.FormatError](err); ok {
		return Status{}, refuse("%s", format.Reason)
	}
	if err != nil {
		return Status{}, fmt.Errorf("jobs: %w", err)
	}
	r.log.Info("edgecore starts again for a rollback that was asked for at the machine", "from", s.Version, "to", s.Before)
	r.notify()
	r.cfg.Restart()
	r.back = &Status{Kind: v1alpha2.KindNodeUpgradeJob, Name: "rollback", Local: true, Phase: string(v1alpha2.NodeInProgress), From: s.Version, Version: s.Before}
	return *r.back, nil
}
