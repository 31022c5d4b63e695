package jobs

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// Stats count jobs.
type Stats struct {
	Jobs       int // that the node has, with those that have ended and are still there
	Waiting    int // of them for a confirmation
	Successful uint64
	Failed     uint64 // without those that were rolled back
	RolledBack uint64
	Pinned     int // images that stay for jobs
}

// Stats returns the counts: of jobs now, and of ends since the start.
func (r *Runner) Stats() Stats {
	s := Stats{Pinned: len(r.PinnedImages())}
	r.mu.Lock()
	defer r.mu.Unlock()
	s.Jobs = len(r.records)
	for _, rec := range r.records {
		if rec.Waiting != nil {
			s.Waiting++
		}
	}
	s.Successful, s.Failed, s.RolledBack = r.ended[v1alpha2.NodeSuccessful], r.ended[v1alpha2.NodeFailure], r.ended[v1alpha2.NodeRolledBack]
	return s
}

// eventOf is the event for a change of a job; "" for none.
func eventOf(before, next *record) (kind, reason, message string) {
	prefix := strings.TrimSuffix(next.Job.Kind, "Job") // NodeUpgrade, ImagePrePull, ConfigUpdate
	message = next.title()
	if v := next.Job.Upgrade; v != nil && v.Version != "" {
		message += " to " + v.Version
	}
	if next.Report.Message != "" {
		message += ": " + next.Report.Message
	}
	ended := next.Step == stepDone && (before == nil || before.Step != stepDone)
	switch {
	case ended && next.Report.Phase == v1alpha2.NodeSuccessful:
		return corev1.EventTypeNormal, prefix + "Successful", message
	case ended && next.Report.Phase == v1alpha2.NodeRolledBack:
		return corev1.EventTypeWarning, prefix + "RolledBack", message
	case ended:
		return corev1.EventTypeWarning, prefix + "Failed", message
	case next.Waiting != nil && (before == nil || before.Waiting == nil):
		return corev1.EventTypeNormal, prefix + "WaitingForConfirmation", message
	case next.Report.AcceptedTime != nil && (before == nil || before.Report.AcceptedTime == nil):
		return corev1.EventTypeNormal, prefix + "Started", message
	}
	return "", "", ""
}

// observeLocked records the event of a change, and counts ends.
func (r *Runner) observeLocked(before, next *record) {
	kind, reason, message := eventOf(before, next)
	if reason != "" {
		r.cfg.Event(kind, reason, message)
		r.log.Info("a job changes", "job", next.Job.Name, "kind", next.Job.Kind, "phase", next.Report.Phase, "reason", next.Report.Reason, "message", next.Report.Message)
	}
	if next.Step == stepDone && (before == nil || before.Step != stepDone) {
		r.ended[next.Report.Phase]++
	}
}
