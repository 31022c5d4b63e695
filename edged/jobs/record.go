package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/meta"
)

// step says how far a job is on this node. Each step is durable before what follows it begins.
type step string

const (
	stepNew      step = ""         // nothing is done, or what is done may be done again
	stepChecked  step = "Checked"  // an upgrade is downloaded and verified
	stepAccepted step = "Accepted" // images are pulled, whatever the permission becomes
	stepSwitched step = "Switched" // it goes on to the end that the trial says
	stepDone     step = "Done"
)

// record is what the node remembers of one job. It is replaced and never changed.
type record struct {
	Job   NodeJob `json:"job"`
	Order uint64  `json:"order"` // the store's revision when the job came: older jobs go first
	// Local is set for an upgrade that somebody at the machine began.
	Local *LocalUpgrade `json:"local,omitempty"`

	Step      step         `json:"step,omitempty"`
	Slot      upgrade.Slot `json:"slot,omitempty"`
	Waiting   *metav1.Time `json:"waiting,omitempty"`   // since when it waits for a confirmation
	Confirmed bool         `json:"confirmed,omitempty"` // somebody at the machine said yes
	Refused   *string      `json:"refused,omitempty"`   // somebody said no, and why
	Report    Report       `json:"report"`
}

// localPrefix begins the names of records of jobs that the cloud does not know.
const localPrefix = "local/"

// clone is a copy that shares nothing that is changed.
func (r *record) clone() *record {
	next := *r
	next.Report.ActionFlow = slices.Clone(r.Report.ActionFlow)
	next.Report.ImageStatus = slices.Clone(r.Report.ImageStatus)
	return &next
}

// permission is what the node may do.
func (r *record) permission() v1alpha2.Permission {
	if r.Local != nil {
		return v1alpha2.Apply
	}
	return r.Job.Phase
}

// mayStop reports whether the job can still be given up: the node is as it was.
func (r *record) mayStop() bool { return r.Step != stepSwitched && r.Step != stepDone }

// waitsForConfirmation reports whether the next step needs a yes.
func (r *record) waitsForConfirmation() bool {
	return r.Step == stepChecked && r.Job.Upgrade.RequireConfirmation && !r.Confirmed
}

// givenUp reports whether the job was refused or cancelled before the node was changed.
func (r *record) givenUp() bool {
	return r.mayStop() && (r.Refused != nil || r.permission() == v1alpha2.Cancelled)
}

// title names the job for people.
func (r *record) title() string { return r.Job.Kind + " " + r.Job.Name }

// set notes what became of an action.
func (r *record) set(a v1alpha2.Action, status metav1.ConditionStatus, reason string, now time.Time) {
	at := metav1.NewTime(now.Truncate(time.Second))
	next := v1alpha2.ActionStatus{Action: a, Status: status, Reason: bound(reason, 1024), Time: &at}
	flow := r.Report.ActionFlow
	if i := slices.IndexFunc(flow, func(s v1alpha2.ActionStatus) bool { return s.Action == a }); i >= 0 {
		flow[i] = next
		return
	}
	r.Report.ActionFlow = append(flow, next)
}

// unset forgets an action.
func (r *record) unset(a v1alpha2.Action) {
	r.Report.ActionFlow = slices.DeleteFunc(r.Report.ActionFlow, func(s v1alpha2.ActionStatus) bool { return s.Action == a })
}

// say sets phase, reason and message.
func (r *record) say(phase v1alpha2.NodeTaskPhase, reason, message string) {
	r.Report.Phase, r.Report.Reason, r.Report.Message = phase, bound(reason, 256), bound(message, 2048)
}

// end is the end of the job.
func (r *record) end(phase v1alpha2.NodeTaskPhase, reason, message string, now time.Time) {
	r.say(phase, reason, message)
	at := metav1.NewTime(now.Truncate(time.Second))
	r.Step, r.Waiting, r.Report.FinishedTime = stepDone, nil, &at
	r.forgetSecret()
	if phase == v1alpha2.NodeSuccessful {
		return
	}
	for i := range r.Report.ActionFlow { // what was under way has failed
		if r.Report.ActionFlow[i].Status == metav1.ConditionUnknown {
			r.Report.ActionFlow[i].Status, r.Report.ActionFlow[i].Reason, r.Report.ActionFlow[i].Time = metav1.ConditionFalse, bound(message, 1024), &at
		}
	}
}

// forgetSecret removes the credentials of a job that has ended.
func (r *record) forgetSecret() {
	if r.Job.ImagePrePull != nil {
		plain := *r.Job.ImagePrePull
		plain.DockerConfigJSON = nil
		r.Job.ImagePrePull = &plain
	}
}

// accept notes that the job has begun.
func (r *record) accept(now time.Time) {
	if r.Report.AcceptedTime == nil {
		at := metav1.NewTime(now.Truncate(time.Second))
		r.Report.AcceptedTime = &at
	}
	r.say(v1alpha2.NodeInProgress, "", "")
}

// bound cuts a text to a number of bytes, and keeps it UTF-8.
func bound(s string, limit int) string {
	s = strings.ToValidUTF8(s, "�")
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-3], "") + "..."
	}
	return s
}

// loadLocked reads the records.
func (r *Runner) loadLocked(ctx context.Context) error {
	stored, _, err := r.cfg.Store.List(ctx, recordPrefix)
	if err != nil {
		return err
	}
	for _, s := range stored {
		name := strings.TrimPrefix(s.Key, recordPrefix)
		rec := new(record)
		if err := json.Unmarshal(s.Value, rec); err != nil || rec.Job.check() != nil && rec.Local == nil {
			r.log.Error("what was done for a job cannot be read: the job begins anew", "job", name, "err", err)
			continue
		}
		r.records[name] = rec
		r.unsent[name] = rec.Local == nil
	}
	r.loaded = true
	return nil
}

// saveLocked makes a record durable and puts it in the place of the one before.
func (r *Runner) saveLocked(ctx context.Context, name string, next *record) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if _, err := r.cfg.Store.Apply(ctx, meta.Op{Key: recordPrefix + name, Value: text}); err != nil {
		return err
	}
	before := r.records[name]
	r.records[name] = next
	if next.Local == nil {
		r.unsent[name] = true
	}
	r.observeLocked(before, next)
	r.announceLocked()
	return nil
}

// changeLocked saves a changed copy of a record.
func (r *Runner) changeLocked(ctx context.Context, name string, change func(*record)) error {
	next := r.records[name].clone()
	change(next)
	return r.saveLocked(ctx, name, next)
}

// removeLocked forgets a record, and its report.
func (r *Runner) removeLocked(ctx context.Context, name string) error {
	if r.records[name].Local == nil {
		if err := r.cfg.Reporter.Delete(ctx, meta.Object{Key: meta.Key{Resource: ReportResource, Name: name}}); err != nil {
			return err
		}
	}
	if _, err := r.cfg.Store.Apply(ctx, meta.Op{Key: recordPrefix + name, Delete: true}); err != nil {
		return err
	}
	delete(r.records, name)
	delete(r.unsent, name)
	r.announceLocked()
	return nil
}

// sendLocked puts the reports into the outbox that are not there.
func (r *Runner) sendLocked(ctx context.Context) error {
	for _, name := range r.namesLocked() {
		if !r.unsent[name] {
			continue
		}
		body, err := json.Marshal(r.records[name].Report)
		if err == nil {
			err = r.cfg.Reporter.Update(ctx, meta.Object{Key: meta.Key{Resource: ReportResource, Name: name}, Body: body})
		}
		if err != nil {
			return fmt.Errorf("report of %s: %w", name, err)
		}
		delete(r.unsent, name)
	}
	return nil
}

// namesLocked lists the records, the oldest job first.
func (r *Runner) namesLocked() []string {
	names := make([]string, 0, len(r.records))
	for name := range r.records {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(r.records[a].Order, r.records[b].Order), cmp.Compare(a, b))
	})
	return names
}
