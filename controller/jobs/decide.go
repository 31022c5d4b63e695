package jobs

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// node is an edge node as far as jobs care.
type node struct {
	name    string
	labels  labels.Set
	present bool // it has a link
}

// fleet are all edge nodes.
type fleet struct {
	nodes  []node // by name
	byName map[string]*node
}

// input is everything that decide looks at. It does not change any of it.
type input struct {
	job     *job
	fleet   *fleet
	results map[string]*v1alpha2.NodeJobResult // of the job, by node
	// busy has the nodes that an older job has work for, with the key of that job.
	busy map[string]string
	// disturbed has the nodes that apply a job that makes them unavailable, this one included.
	disturbed map[string]bool
	now       time.Time
}

// grant gives a node a new permission.
type grant struct {
	node  string
	batch int32
	phase v1alpha2.Permission
}

// verdict sets the phase of a node that cannot say it itself.
type verdict struct {
	node            string
	phase           v1alpha2.NodeTaskPhase
	reason, message string
}

// decision is what follows from an input.
type decision struct {
	grants   []grant // in the order in which they are made
	verdicts []verdict
	status   v1alpha2.JobStatus
	holds    []string  // nodes on which younger jobs must wait for this one
	next     time.Time // when to decide again if nothing changes; zero: never
	expired  bool      // the job is to be deleted
}

// state is where a member stands.
type state int

const (
	waiting state = iota // it has not begun
	working              // it has accepted the job
	succeeded
	failed
	rolledBack
	unknown
	dropped // it had not begun when the job ended
)

func (s state) ended() bool { return s >= succeeded }

// member is one node of a job.
type member struct {
	name  string
	node  *node                   // nil: there is no such edge node
	res   *v1alpha2.NodeJobResult // nil: it was not given the job
	batch int32                   // 0: it has none yet
	state state
	// For a member that waits, why; for one that cannot say it itself, what happened.
	reason, message string
}

func (m *member) present() bool { return m.node != nil && m.node.present }

// phase is the member's permission; "" if it has none.
func (m *member) phase() v1alpha2.Permission {
	if m.res == nil {
		return ""
	}
	return m.res.Spec.Phase
}

// since is when the member got its permission; zero if it has none.
func (m *member) since() time.Time {
	if m.res == nil || m.res.Spec.PhaseTime == nil {
		return time.Time{}
	}
	return m.res.Spec.PhaseTime.Time
}

// checked reports whether the member has all that it needs to apply the job.
func (m *member) checked(j *job) bool {
	return !j.downloads || m.res != nil && m.res.Status.Done(v1alpha2.ActionCheck)
}

// round is one run of decide.
type round struct {
	input
	decision
	members []member
	counts  v1alpha2.NodeCounts
	batch   int32 // whose turn it is
	used    int   // places that are taken
	silent  int   // of them by members that say nothing
}

// decide says what each node may do in a job now. It is pure: the same input gives the same
// decision, whichever cloudcore asks. Each round gives out only places that were free before
// it, so that a decision may be carried out in part.
func decide(in input) decision {
	r := &round{input: in}
	r.status = in.job.status
	r.status.ObservedGeneration = in.job.meta.Generation
	if in.job.invalid != "" && !in.job.finished() {
		r.finish(v1alpha2.JobFailure, v1alpha2.ReasonInvalidSpec, in.job.invalid)
	}
	r.findMembers()
	for i := range r.members {
		r.judge(&r.members[i])
	}
	if !r.finished() {
		r.findBatch()
		r.stop()
	}
	r.countPlaces()
	r.withdrawFailed()
	switch {
	case r.finished():
		r.withdrawAll(v1alpha2.Cancelled)
	case in.job.paused:
		r.withdrawAll(v1alpha2.Paused)
	default:
		r.permit()
	}
	r.summarize()
	r.expire()
	return r.decision
}

// finished reports that the job has ended, before or in this round.
func (r *round) finished() bool { return r.status.CompletionTime != nil }

// finish ends the job.
func (r *round) finish(phase v1alpha2.JobPhase, reason, message string) {
	r.status.Phase, r.status.Reason, r.status.Message = phase, reason, message
	at := metaTime(r.now)
	r.status.CompletionTime = &at
}

// wakeAt asks for a decision at a time that is still to come.
func (r *round) wakeAt(at time.Time) {
	if at.After(r.now) && (r.next.IsZero() || at.Before(r.next)) {
		r.next = at
	}
}

// findMembers lists the nodes of the job, by name. A node that was given the job stays a
// member whatever its labels become.
func (r *round) findMembers() {
	j, known := r.job, 0
	add := func(name string, n *node) {
		m := member{name: name, node: n, res: r.results[name]}
		if m.res != nil {
			known++
			m.batch = m.res.Spec.Batch
		}
		r.members = append(r.members, m)
	}
	r.members = make([]member, 0, len(r.fleet.nodes))
	if j.selector == nil {
		for _, name := range j.names {
			if r.finished() && r.results[string(name)] == nil {
				continue
			}
			add(string(name), r.fleet.byName[string(name)])
		}
		return
	}
	for i := range r.fleet.nodes {
		n := &r.fleet.nodes[i]
		if r.results[n.name] != nil || !r.finished() && j.selector.Matches(n.labels) {
			add(n.name, n)
		}
	}
	if known == len(r.results) {
		return
	}
	for name := range r.results {
		if r.fleet.byName[name] == nil {
			add(name, nil)
		}
	}
	slices.SortFunc(r.members, func(a, b member) int { return strings.Compare(a.name, b.name) })
}

// judge finds where a member stands, and gives a verdict where it cannot say it itself.
func (r *round) judge(m *member) {
	m.state = r.reported(m)
	if m.state.ended() {
		return
	}
	if m.state == working {
		due := m.res.Status.ObservedAcceptedTime.Add(r.job.timeout)
		if due.After(r.now) {
			r.wakeAt(due)
			return
		}
		r.set(m, unknown, v1alpha2.NodeUnknown, v1alpha2.ReasonTimedOut,
			fmt.Sprintf("no result within %s after the node had accepted the job; a later result of the node counts", r.job.timeout))
		return
	}
	if r.finished() {
		return
	}
	if m.node == nil {
		r.set(m, failed, v1alpha2.NodeFailure, v1alpha2.ReasonNodeNotFound, "there is no edge node of this name")
		return
	}
	if d := r.job.deadline; !d.IsZero() {
		if d.After(r.now) {
			r.wakeAt(d)
			return
		}
		r.set(m, failed, v1alpha2.NodeFailure, v1alpha2.ReasonDeadlineExceeded, "the node had not begun at the job's deadline")
	}
}

// set gives a verdict about a member. One that was never given the job has no result to
// write it to.
func (r *round) set(m *member, s state, phase v1alpha2.NodeTaskPhase, reason, message string) {
	m.state, m.reason, m.message = s, reason, message
	if m.res != nil {
		r.verdicts = append(r.verdicts, verdict{node: m.name, phase: phase, reason: reason, message: message})
	}
}

// reported is the state that a member's result has.
func (r *round) reported(m *member) state {
	if m.res == nil {
		return waiting
	}
	switch s := &m.res.Status; s.Phase {
	case v1alpha2.NodeSuccessful:
		return succeeded
	case v1alpha2.NodeFailure:
		if s.Reported && s.Reason == v1alpha2.ReasonCancelled && r.job.finished() {
			return dropped
		}
		return failed
	case v1alpha2.NodeRolledBack:
		return rolledBack
	case v1alpha2.NodeUnknown:
		return unknown
	default:
		if s.ObservedAcceptedTime != nil {
			return working
		}
		return waiting
	}
}

// withdrawal is how long a node whose turn was taken from it keeps its place at most, unless it
// shows that it knows.
const withdrawal = time.Minute

// mayStillBegin reports whether a node whose turn was taken from it has not said that it knows: it
// may accept the job at this moment. A node that had its turn and did not begin waits for a
// confirmation, or until it has settled; it says so until it hears that its turn is over.
func (m *member) mayStillBegin() bool {
	if m.state != waiting || !m.present() || m.phase() != v1alpha2.Download && m.phase() != v1alpha2.Paused {
		return false
	}
	s := &m.res.Status
	return s.Reason == nodejobs.ReasonSettling || s.Reason == nodejobs.ReasonWaitingForConfirmation ||
		slices.ContainsFunc(s.ActionFlow, func(a v1alpha2.ActionStatus) bool { return a.Action == v1alpha2.ActionWaitingConfirmation })
}

// countPlaces counts the places that are taken: by members that work, by those that may begin
// and have not yet, also if their turn was just taken from them, and by those that ended less than
// postCompleteDelay ago.
func (r *round) countPlaces() {
	for i := range r.members {
		m := &r.members[i]
		switch {
		case m.state == working:
			r.used++
		case m.state == waiting && m.phase() == v1alpha2.Apply:
			r.used++
			r.wakeAt(r.granted(m))
		case m.mayStillBegin() && m.since().Add(withdrawal).After(r.now):
			r.used++
			r.wakeAt(m.since().Add(withdrawal))
		case m.state.ended() && r.job.delay > 0 && m.res != nil && m.res.Status.ObservedFinishedTime != nil:
			if due := m.res.Status.ObservedFinishedTime.Add(r.job.delay); due.After(r.now) {
				r.used++
				r.wakeAt(due)
			}
		}
	}
}

// granted is until when a member that may begin keeps its place for certain. A node that does
// not accept by then may be gone, or nobody confirms.
func (r *round) granted(m *member) time.Time { return m.since().Add(r.job.timeout) }

// withdrawAll takes back what the members that have not begun may do.
func (r *round) withdrawAll(phase v1alpha2.Permission) {
	for i := range r.members {
		m := &r.members[i]
		if p := m.phase(); m.state == waiting && p != "" && p != phase && p != v1alpha2.Cancelled {
			r.grant(m, phase)
		}
	}
}

// withdrawFailed takes the job from nodes that failed by the cloud's own verdict.
func (r *round) withdrawFailed() {
	for i := range r.members {
		m := &r.members[i]
		if p := m.phase(); m.state == failed && p != "" && p != v1alpha2.Cancelled && !m.res.Status.Reported {
			r.grant(m, v1alpha2.Cancelled)
		}
	}
}

func (r *round) grant(m *member, phase v1alpha2.Permission) {
	r.grants = append(r.grants, grant{node: m.name, batch: max(1, m.batch), phase: phase})
}

// expire says when the job is deleted.
func (r *round) expire() {
	if r.job.ttl == nil || r.status.CompletionTime == nil || r.counts.InProgress > 0 {
		return
	}
	due := r.status.CompletionTime.Add(*r.job.ttl)
	r.wakeAt(due)
	r.expired = !due.After(r.now)
}
