package jobs

import (
	"encoding/json"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

func metaTime(t time.Time) metav1.Time { return metav1.NewTime(t.Truncate(time.Second)) }

// summarize writes the status: counts, the phase, why nothing goes on, and the nodes.
func (r *round) summarize() {
	r.count()
	st := &r.status
	st.Nodes = r.counts
	st.Progress = fmt.Sprintf("%d/%d", r.counts.Successful, r.counts.Total)
	if st.StartTime == nil && (len(r.grants) > 0 || len(r.results) > 0) {
		at := metaTime(r.now)
		st.StartTime = &at
	}
	if r.finished() {
		r.rejudge()
	} else {
		r.explain()
	}
	st.NodeStatus = r.nodeStatus()
	st.State = olderState(r.job.kind, st)
}

// count counts the members, and notes on which nodes younger jobs must wait.
func (r *round) count() {
	c, ended := &r.counts, r.job.finished()
	c.Total = int32(len(r.members))
	if ended {
		c.Total, c.NotStarted = r.status.Nodes.Total, r.status.Nodes.NotStarted
		c.Failed = c.NotStarted
	}
	for i := range r.members {
		m := &r.members[i]
		switch m.state {
		case waiting:
			if !m.present() {
				c.Away++
			}
		case working:
			c.InProgress++
		case succeeded:
			c.Successful++
		case dropped:
			c.Cancelled++
		default:
			c.Failed++
			if m.res == nil {
				c.NotStarted++
			}
		}
		switch m.state {
		case rolledBack:
			c.RolledBack++
		case unknown:
			c.Unknown++
		}
		if m.state == working || m.state == waiting && !r.finished() {
			r.holds = append(r.holds, m.name)
		}
	}
	c.Pending = max(0, c.Total-c.InProgress-c.Successful-c.Failed-c.Cancelled)
	if r.finished() {
		c.Away = 0
	}
}

// rejudge lets results that came after the end count: a node that was Unknown may have
// succeeded.
func (r *round) rejudge() {
	st, c := &r.status, &r.counts
	if c.Pending > 0 || c.InProgress > 0 || c.Cancelled > 0 || st.Reason != "" && st.Reason != v1alpha2.ReasonTolerance {
		return
	}
	if tooMany(int(c.Failed), int(c.Total), r.job.tolerate) {
		st.Phase, st.Reason, st.Message = v1alpha2.JobFailure, v1alpha2.ReasonTolerance, overTolerance(int(c.Failed), int(c.Total))
		return
	}
	st.Phase, st.Reason, st.Message = v1alpha2.JobCompleted, "", ""
}

// explain sets the phase of a job that goes on, and says why nothing happens if so.
func (r *round) explain() {
	st := &r.status
	st.Phase, st.Reason, st.Message = v1alpha2.JobInProgress, "", ""
	if st.StartTime == nil {
		st.Phase = v1alpha2.JobInit
	}
	if r.job.paused {
		st.Reason, st.Message = v1alpha2.ReasonPaused, "no further node begins (spec.paused)"
		return
	}
	if n := int32(len(r.job.batches)); n > 1 {
		st.Message = fmt.Sprintf("batch %d of %d", r.batch, n)
	}
	if r.counts.InProgress > 0 || len(r.grants) > 0 || r.used > r.silent {
		return
	}
	why := make(map[string]int)
	text := make(map[string]string)
	for i := range r.members {
		if m := &r.members[i]; m.state == waiting && m.batch <= r.batch {
			if m.reason == "" && m.phase() != "" {
				return // it downloads
			}
			if why[m.reason]++; why[m.reason] == 1 {
				text[m.reason] = m.name + " " + m.message
			}
		}
	}
	for _, reason := range []string{v1alpha2.ReasonWindowClosed, v1alpha2.ReasonDisruptionBudget, v1alpha2.ReasonWaitingForJob, v1alpha2.ReasonNoReport, v1alpha2.ReasonNodesAway} {
		if n := why[reason]; n > 0 {
			st.Reason = reason
			if st.Message != "" {
				st.Message += ": "
			}
			st.Message += fmt.Sprintf("%d nodes wait; for example, %s", n, text[reason])
			return
		}
	}
}

// maxDetails bounds what nodes say of themselves in the status of their job, in bytes; of the
// nodes after that it has phase and reason. The API server takes objects of some 1.5 MiB, and what
// a job's status has no room for is in the results.
const maxDetails = 512 << 10

// nodeStatus lists the nodes that failed, and all of a small job.
func (r *round) nodeStatus() []v1alpha2.NodeStatus {
	all, room := r.counts.Total <= v1alpha2.MaxNodeStatus, maxDetails
	var list []v1alpha2.NodeStatus
	if r.job.finished() { // those that never had the job are in the last status only
		for _, s := range r.job.status.NodeStatus {
			if r.results[s.NodeName] == nil {
				list = append(list, s)
			}
		}
	}
	for i := range r.members {
		m := &r.members[i]
		bad := m.state == failed || m.state == rolledBack || m.state == unknown
		if len(list) >= v1alpha2.MaxNodeStatus || !all && !bad {
			continue
		}
		s := m.status()
		text, err := json.Marshal(s)
		if room -= len(text); err != nil || room < 0 {
			s = v1alpha2.NodeStatus{NodeName: s.NodeName, NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: s.Phase, Reason: s.Reason}}
		}
		list = append(list, s)
	}
	return list
}

// phases are the phases of members.
var phases = [...]v1alpha2.NodeTaskPhase{
	waiting: v1alpha2.NodePending, working: v1alpha2.NodeInProgress, succeeded: v1alpha2.NodeSuccessful,
	failed: v1alpha2.NodeFailure, rolledBack: v1alpha2.NodeRolledBack, unknown: v1alpha2.NodeUnknown,
	dropped: v1alpha2.NodeFailure,
}

// maxImageStatus bounds the images of one node in its job's status; its result has all.
const maxImageStatus = 8

// status is what a job's status says of a member.
func (m *member) status() v1alpha2.NodeStatus {
	s := v1alpha2.NodeStatus{NodeName: m.name}
	if m.res != nil {
		m.res.Status.NodeTaskStatus.DeepCopyInto(&s.NodeTaskStatus)
		if len(s.ImageStatus) > maxImageStatus {
			s.ImageStatus = s.ImageStatus[:maxImageStatus]
		}
	}
	s.Phase = phases[m.state]
	if m.message != "" && (s.Reason == "" || m.state.ended()) {
		s.Reason, s.Message = m.reason, m.message
	}
	return s
}

// olderState is the phase of a job in the words of v1alpha1.
func olderState(kind string, st *v1alpha2.JobStatus) string {
	working := map[string]string{v1alpha2.KindNodeUpgradeJob: "Upgrading", v1alpha2.KindImagePrePullJob: "Pulling"}[kind]
	switch {
	case working == "":
		return ""
	case st.Phase == v1alpha2.JobCompleted:
		return "Successful"
	case st.Phase == v1alpha2.JobFailure:
		return "Failed"
	case st.Reason == v1alpha2.ReasonPaused:
		return "Pause"
	case st.Phase == v1alpha2.JobInProgress:
		return working
	}
	return "Init"
}
