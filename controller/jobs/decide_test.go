package jobs

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	nodejobs "github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/jobs/v1alpha2"
)

// start is when the jobs of tests are created: a Monday, 08:00.
var start = time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)

// sim is a fleet and one job, without an API server: decisions are applied at once.
type sim struct {
	t       *testing.T
	job     *job
	fleet   *fleet
	results map[string]*v1alpha2.NodeJobResult
	busy    map[string]string
	now     time.Time
	last    decision
}

func newSim(t *testing.T, j *job, nodes ...node) *sim {
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
	s := &sim{t: t, job: j, fleet: &fleet{nodes: nodes, byName: make(map[string]*node)}, results: make(map[string]*v1alpha2.NodeJobResult), busy: make(map[string]string), now: start}
	for i := range nodes {
		s.fleet.byName[nodes[i].name] = &nodes[i]
	}
	return s
}

// step decides once and applies the decision. It returns "node:permission" of each grant.
func (s *sim) step() []string {
	s.t.Helper()
	disturbed := make(map[string]bool)
	disturb(disturbed, s.results)
	s.last = decide(input{job: s.job, fleet: s.fleet, results: s.results, busy: s.busy, disturbed: disturbed, now: s.now})
	for _, v := range s.last.verdicts {
		res := s.results[v.node]
		res.Status.Phase, res.Status.Reason, res.Status.Reported = v.phase, v.reason, false
	}
	var given []string
	for _, g := range s.last.grants {
		res := s.results[g.node]
		if res == nil {
			res = &v1alpha2.NodeJobResult{Spec: v1alpha2.NodeJobResultSpec{JobUID: string(s.job.meta.UID), NodeName: g.node}}
			s.results[g.node] = res
		}
		at := metav1.NewTime(s.now)
		res.Spec.Phase, res.Spec.PhaseTime, res.Spec.Batch = g.phase, &at, g.batch
		given = append(given, g.node+":"+string(g.phase))
	}
	next := *s.job
	next.status = s.last.status
	s.job = &next
	slices.Sort(given)
	return given
}

// report is what a node says; the phase Pending with Check says that it has downloaded.
func (s *sim) report(name string, phase v1alpha2.NodeTaskPhase, done ...v1alpha2.Action) {
	s.t.Helper()
	res := s.results[name]
	if res == nil {
		s.t.Fatalf("%s has no job to report of", name)
	}
	r := &nodejobs.Report{NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: phase}}
	for _, a := range done {
		r.ActionFlow = append(r.ActionFlow, v1alpha2.ActionStatus{Action: a, Status: metav1.ConditionTrue})
	}
	st, _ := merge(&res.Status, r, s.now)
	res.Status = *st
}

// reportReason is what a node says with a reason.
func (s *sim) reportReason(name string, phase v1alpha2.NodeTaskPhase, reason string) {
	res := s.results[name]
	st, _ := merge(&res.Status, &nodejobs.Report{NodeTaskStatus: v1alpha2.NodeTaskStatus{Phase: phase, Reason: reason}}, s.now)
	res.Status = *st
}

func (s *sim) want(what string, got []string, want ...string) {
	s.t.Helper()
	if !slices.Equal(got, want) {
		s.t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func (s *sim) phase(phase v1alpha2.JobPhase, reason string) {
	s.t.Helper()
	if st := s.last.status; st.Phase != phase || st.Reason != reason {
		s.t.Errorf("the job is %s %q (%s), want %s %q; %+v", st.Phase, st.Reason, st.Message, phase, reason, st.Nodes)
	}
}

func (s *sim) present(name string, is bool) { s.fleet.byName[name].present = is }

// configJob is a ConfigUpdateJob, whose nodes apply without a download. Its time from
// acceptance to Unknown is 300s and the 6 minutes of health.
func configJob(change func(*v1alpha2.ConfigUpdateJob)) *job {
	o := &v1alpha2.ConfigUpdateJob{ObjectMeta: metav1.ObjectMeta{Name: "c", UID: "c1", Generation: 1, CreationTimestamp: metav1.NewTime(start)}}
	o.Spec.UpdateFields = map[string]v1alpha2.FieldValue{"a": "b"}
	o.Spec.LabelSelector, o.Spec.Concurrency, o.Spec.FailureTolerate = &metav1.LabelSelector{}, 1, "0.1"
	change(o)
	return newConfigUpdate(o)
}

func upgradeJob(change func(*v1alpha2.NodeUpgradeJob)) *job {
	o := &v1alpha2.NodeUpgradeJob{ObjectMeta: metav1.ObjectMeta{Name: "u", UID: types.UID("u1"), Generation: 1, CreationTimestamp: metav1.NewTime(start)}}
	o.Spec.Version, o.Spec.LabelSelector, o.Spec.Concurrency = "v1.24.0", &metav1.LabelSelector{}, 1
	change(o)
	return newUpgrade(o)
}

// named makes nodes with a link; "-a" is one without, "a@site" has the label site.
func named(names ...string) (nodes []node) {
	for _, name := range names {
		n := node{present: !strings.HasPrefix(name, "-"), labels: map[string]string{}}
		n.name, n.labels["site"], _ = strings.Cut(strings.TrimPrefix(name, "-"), "@")
		nodes = append(nodes, n)
	}
	return nodes
}

func TestOneAfterTheOther(t *testing.T) {
	s := newSim(t, configJob(func(*v1alpha2.ConfigUpdateJob) {}), named("a", "b")...)
	s.want("first", s.step(), "a:Apply")
	s.want("none while a has its place", s.step())
	s.report("a", v1alpha2.NodeInProgress)
	s.want("none while a works", s.step())
	s.phase(v1alpha2.JobInProgress, "")
	s.report("a", v1alpha2.NodeSuccessful)
	s.want("second", s.step(), "b:Apply")
	s.report("b", v1alpha2.NodeSuccessful)
	s.want("end", s.step())
	s.phase(v1alpha2.JobCompleted, "")
	if st := s.last.status; st.Progress != "2/2" || st.CompletionTime == nil || st.StartTime == nil || len(st.NodeStatus) != 2 {
		t.Errorf("%+v", st)
	}
}

func TestUpgradeDownloadsFirst(t *testing.T) {
	s := newSim(t, upgradeJob(func(*v1alpha2.NodeUpgradeJob) {}), named("a", "b", "-c")...)
	s.want("both download", s.step(), "a:Download", "b:Download")
	s.want("nobody applies before", s.step())
	s.report("b", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.want("who is ready applies", s.step(), "b:Apply")
	s.report("a", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.want("one at a time", s.step())
	s.report("b", v1alpha2.NodeSuccessful)
	s.want("then the other", s.step(), "a:Apply")
	s.report("a", v1alpha2.NodeSuccessful)
	s.want("the third is away", s.step())
	s.phase(v1alpha2.JobInProgress, v1alpha2.ReasonNodesAway)
	s.present("c", true)
	s.want("and does it when it returns", s.step(), "c:Download")
	s.report("c", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.want("like the others", s.step(), "c:Apply")
	s.report("c", v1alpha2.NodeSuccessful)
	s.step()
	s.phase(v1alpha2.JobCompleted, "")
}

// TestLostNode: a node that was given its turn and is lost keeps no place, and its late word
// counts.
func TestLostNode(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) { o.Spec.FailureTolerate = "0.5" }), named("a", "b")...)
	limit := s.job.timeout
	s.want("turn of a", s.step(), "a:Apply")
	s.present("a", false)
	s.now = s.now.Add(limit - time.Second)
	s.want("it may still accept", s.step())
	if got := s.last.next.Sub(s.now); got != time.Second {
		t.Errorf("the next look is in %s, want 1s", got)
	}
	s.now = s.now.Add(time.Second)
	s.want("its turn is over", s.step(), "a:Download")
	s.want("the place goes on", s.step(), "b:Apply")
	s.report("b", v1alpha2.NodeInProgress)
	s.present("b", false)
	s.now = s.now.Add(limit)
	s.want("b accepted and is lost", s.step())
	if v := s.last.verdicts; len(v) != 1 || v[0].node != "b" || v[0].phase != v1alpha2.NodeUnknown || v[0].reason != v1alpha2.ReasonTimedOut {
		t.Errorf("verdicts %+v", v)
	}
	s.step()
	if n := s.last.status.Nodes; n.Unknown != 1 || n.Failed != 1 || n.Away != 1 || n.Pending != 1 {
		t.Errorf("%+v", n)
	}
	s.report("b", v1alpha2.NodeInProgress)
	s.step()
	if n := s.last.status.Nodes; n.Unknown != 1 {
		t.Errorf("a late InProgress changed Unknown: %+v", n)
	}
	s.report("b", v1alpha2.NodeSuccessful)
	s.present("a", true)
	s.want("a has its turn again", s.step(), "a:Apply")
	if n := s.last.status.Nodes; n.Unknown != 0 || n.Successful != 1 || n.Failed != 0 {
		t.Errorf("%+v", n)
	}
}

// TestLateReportAfterTheEnd: the counts of a job that has ended follow late reports.
func TestLateReportAfterTheEnd(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {}), named("a")...)
	s.step()
	s.report("a", v1alpha2.NodeInProgress)
	s.now = s.now.Add(s.job.timeout)
	s.step()
	s.phase(v1alpha2.JobFailure, v1alpha2.ReasonTolerance)
	s.report("a", v1alpha2.NodeSuccessful)
	s.step()
	s.phase(v1alpha2.JobCompleted, "")
	s.report("a", v1alpha2.NodeFailure)
	s.step()
	s.phase(v1alpha2.JobCompleted, "") // what a node said of its end stays
}

func TestRolledBackCountsAsFailed(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {}), named("a", "b", "c")...)
	s.step()
	s.report("a", v1alpha2.NodeRolledBack)
	s.want("no further node begins", s.step())
	s.phase(v1alpha2.JobFailure, v1alpha2.ReasonTolerance)
	if st := s.last.status; st.Nodes.RolledBack != 1 || st.Nodes.Failed != 1 || st.Nodes.Pending != 2 || st.NodeStatus[0].Phase != v1alpha2.NodeRolledBack {
		t.Errorf("%+v", st)
	}
}

func TestBatches(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.Concurrency, o.Spec.FailureTolerate = 10, "1"
		o.Spec.Rollout = &v1alpha2.Rollout{Batches: []v1alpha2.Batch{
			{Limit: new(intstr.FromInt32(1)), SuccessThreshold: new(intstr.FromString("100%"))},
			{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"site": "x"}}, SuccessThreshold: new(intstr.FromString("50%"))},
		}}
	}), named("-a", "b", "c@x", "d@x", "-e@x", "f")...)
	s.want("the canary is one with a link", s.step(), "b:Apply")
	s.report("b", v1alpha2.NodeSuccessful)
	s.want("then the site, away nodes do not hold it up", s.step(), "c:Apply", "d:Apply")
	s.report("c", v1alpha2.NodeSuccessful)
	s.report("d", v1alpha2.NodeFailure)
	s.want("half is enough", s.step(), "f:Apply")
	if s.last.status.Batch != 3 {
		t.Error("batch", s.last.status.Batch)
	}
	s.present("a", true)
	s.present("e", true)
	s.want("who returns takes part", s.step(), "a:Apply", "e:Apply")
}

func TestBatchOutOfReach(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.Concurrency, o.Spec.FailureTolerate = 10, "1"
		o.Spec.Rollout = &v1alpha2.Rollout{Batches: []v1alpha2.Batch{{Limit: new(intstr.FromString("50%")), SuccessThreshold: new(intstr.FromInt32(2))}}}
	}), named("a", "b", "c", "d")...)
	s.want("half", s.step(), "a:Apply", "b:Apply")
	s.report("a", v1alpha2.NodeFailure)
	s.report("b", v1alpha2.NodeInProgress)
	s.want("it ends at once", s.step())
	s.phase(v1alpha2.JobFailure, v1alpha2.ReasonThreshold)
	s.report("b", v1alpha2.NodeSuccessful)
	s.step()
	s.phase(v1alpha2.JobFailure, v1alpha2.ReasonThreshold)
	if n := s.last.status.Nodes; n.Successful != 1 || n.Failed != 1 || n.Pending != 2 || n.Total != 4 {
		t.Errorf("%+v", n)
	}
}

// TestWholeBatchAway: no batch is done without anybody.
func TestWholeBatchAway(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.Rollout = &v1alpha2.Rollout{Batches: []v1alpha2.Batch{{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"site": "x"}}}}}
	}), named("-a@x", "b")...)
	s.want("b waits for the canary", s.step())
	s.phase(v1alpha2.JobInit, v1alpha2.ReasonNodesAway)
}

func TestDisruptionBudget(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.Concurrency = 10
		o.Spec.Rollout = &v1alpha2.Rollout{DisruptionBudget: &v1alpha2.DisruptionBudget{GroupBy: []string{"site"}, MaxUnavailable: new(intstr.FromString("50%")), MinAvailable: new(intstr.FromInt32(1))}}
	}), named("a@x", "b@x", "c@x", "d@y", "-e@y", "f@z")...)
	s.want("two of x; y has one away, z would have none", s.step(), "a:Apply", "b:Apply")
	s.report("a", v1alpha2.NodeSuccessful)
	s.want("the next of x", s.step(), "c:Apply")
	s.present("e", true)
	s.want("one of y", s.step(), "d:Apply")
	for _, name := range []string{"b", "c", "d"} {
		s.report(name, v1alpha2.NodeSuccessful)
	}
	s.want("the other of y", s.step(), "e:Apply")
	s.report("e", v1alpha2.NodeSuccessful)
	s.want("f never may", s.step())
	s.phase(v1alpha2.JobInProgress, v1alpha2.ReasonDisruptionBudget)
}

func TestWindows(t *testing.T) {
	s := newSim(t, upgradeJob(func(o *v1alpha2.NodeUpgradeJob) {
		o.Spec.Window = &v1alpha2.Window{
			Download: &v1alpha2.Schedule{Cron: "0 9 * * *", Duration: metav1.Duration{Duration: time.Hour}},
			Apply:    &v1alpha2.Schedule{Cron: "0 2 * * *", TimeZone: "America/New_York", Duration: metav1.Duration{Duration: time.Hour}}, // 07:00 UTC
		}
	}), named("a", "b")...)
	s.want("closed at 08:00", s.step())
	s.phase(v1alpha2.JobInit, v1alpha2.ReasonWindowClosed)
	if want := start.Add(time.Hour); !s.last.next.Equal(want) {
		t.Errorf("next look at %s, want %s", s.last.next, want)
	}
	s.now = start.Add(time.Hour)
	s.want("09:00", s.step(), "a:Download", "b:Download")
	s.report("a", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.now = start.Add(2 * time.Hour)
	s.want("10:00: who has not downloaded stops", s.step(), "b:Paused")
	s.now = start.Add(23 * time.Hour)
	s.want("02:00 in New York", s.step(), "a:Apply")
	s.now = start.Add(24 * time.Hour)
	s.report("a", v1alpha2.NodeInProgress)
	s.want("who has begun goes on", s.step())
	s.report("a", v1alpha2.NodeSuccessful)
	s.now = start.Add(25 * time.Hour)
	s.want("09:00 again", s.step(), "b:Download")
	s.now = s.now.Add(time.Minute)
	s.report("b", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.want("apply is closed", s.step())
	s.phase(v1alpha2.JobInProgress, v1alpha2.ReasonWindowClosed)
}

func TestPauseAndCancel(t *testing.T) {
	s := newSim(t, upgradeJob(func(o *v1alpha2.NodeUpgradeJob) { o.Spec.Concurrency = 2 }), named("a", "b", "c")...)
	s.step()
	s.report("a", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.report("b", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.want("begin", s.step(), "a:Apply", "b:Apply")
	s.report("a", v1alpha2.NodeInProgress)
	s.job.paused = true
	s.want("who has not begun pauses", s.step(), "b:Paused", "c:Paused")
	s.phase(v1alpha2.JobInProgress, v1alpha2.ReasonPaused)
	if s.last.status.State != "Pause" {
		t.Error("state", s.last.status.State)
	}
	s.want("once", s.step())
	s.job.paused = false
	s.want("and goes on", s.step(), "b:Apply", "c:Download")
	s.job.cancel = true
	s.want("cancelled", s.step(), "b:Cancelled", "c:Cancelled")
	s.phase(v1alpha2.JobFailure, v1alpha2.ReasonCancelled)
	s.report("a", v1alpha2.NodeSuccessful)
	s.report("b", v1alpha2.NodeSuccessful) // it had accepted before it heard
	s.want("nothing more", s.step())
	s.phase(v1alpha2.JobFailure, v1alpha2.ReasonCancelled)
	if n := s.last.status.Nodes; n.Successful != 2 || n.Pending != 1 {
		t.Errorf("%+v", n)
	}
	s.reportReason("c", v1alpha2.NodeFailure, v1alpha2.ReasonCancelled) // it dropped what it had downloaded
	s.step()
	if n := s.last.status.Nodes; n.Successful != 2 || n.Pending != 0 || n.Cancelled != 1 || n.Failed != 0 {
		t.Errorf("%+v", n)
	}
}

// TestConfirmation: a node where nobody confirms passes its turn on when another waits.
func TestConfirmation(t *testing.T) {
	s := newSim(t, configJob(func(*v1alpha2.ConfigUpdateJob) {}), named("a", "b")...)
	s.want("a is asked", s.step(), "a:Apply")
	s.report("a", v1alpha2.NodePending)
	s.now = s.now.Add(s.job.timeout)
	s.want("nobody confirms", s.step(), "a:Download")
	s.want("b is asked", s.step(), "b:Apply")
	s.report("b", v1alpha2.NodeSuccessful)
	s.want("a again", s.step(), "a:Apply")
	s.now = s.now.Add(10 * s.job.timeout)
	s.want("and for as long as it takes: nobody else waits", s.step())
	s.report("a", v1alpha2.NodeSuccessful)
	s.step()
	s.phase(v1alpha2.JobCompleted, "")
}

// TestTurnTakenBack: a node whose turn is taken from it keeps its place until it says that it knows,
// since it may accept the job meanwhile: there is never one more at work than concurrency allows.
func TestTurnTakenBack(t *testing.T) {
	for _, reason := range []string{nodejobs.ReasonWaitingForConfirmation, nodejobs.ReasonSettling} {
		begin := func() *sim {
			s := newSim(t, configJob(func(*v1alpha2.ConfigUpdateJob) {}), named("a", "b")...)
			s.want("the first turn", s.step(), "a:Apply")
			s.reportReason("a", v1alpha2.NodePending, reason)
			s.now = s.now.Add(s.job.timeout)
			s.want("its time is over", s.step(), "a:Download")
			s.want("it does not know yet", s.step())
			return s
		}
		s := begin()
		s.report("a", v1alpha2.NodeInProgress) // it has accepted before it knew
		s.want("it works", s.step())
		s.report("a", v1alpha2.NodeSuccessful)
		s.want("it has ended", s.step(), "b:Apply")
		s = begin()
		s.reportReason("a", v1alpha2.NodePending, "")
		s.want("it knows", s.step(), "b:Apply")
		s = begin()
		if s.last.next != s.now.Add(withdrawal) {
			t.Errorf("the next decision is at %s", s.last.next)
		}
		s.now = s.now.Add(withdrawal)
		s.want("it says nothing", s.step(), "b:Apply")
	}
}

func TestDeadlineAndMissingNodes(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.LabelSelector, o.Spec.NodeNames = nil, []v1alpha2.NodeName{"b", "a", "none", "a", "c"}
		o.Spec.Deadline, o.Spec.FailureTolerate = &metav1.Duration{Duration: time.Hour}, "0.9"
	}), named("a", "-b", "c")...)
	s.want("a", s.step(), "a:Apply")
	if n := s.last.status.Nodes; n.Total != 4 || n.Failed != 1 || n.NotStarted != 1 || n.Away != 1 {
		t.Errorf("%+v", n)
	}
	s.report("a", v1alpha2.NodeSuccessful)
	s.want("c", s.step(), "c:Apply")
	s.present("c", false)
	s.now = s.now.Add(time.Hour)
	s.want("the deadline", s.step(), "c:Cancelled")
	s.step()
	s.phase(v1alpha2.JobCompleted, "")
	if n := s.last.status.Nodes; n.Total != 4 || n.Failed != 3 || n.Successful != 1 || n.Pending != 0 {
		t.Errorf("%+v", n)
	}
	if st := s.last.status.NodeStatus; len(st) != 4 || st[0].NodeName != "b" && st[0].NodeName != "none" {
		t.Errorf("%+v", st)
	}
	before := *s.results["c"]
	s.reportReason("c", v1alpha2.NodeFailure, v1alpha2.ReasonCancelled)
	s.step()
	if st := s.results["c"].Status; st.Reason != v1alpha2.ReasonDeadlineExceeded || !st.Reported || s.last.status.Nodes.Failed != 3 {
		t.Errorf("a node that drops the job after the deadline: %+v %+v", st, s.last.status.Nodes)
	}
	s.results["c"] = &before
	s.report("c", v1alpha2.NodeSuccessful) // it had begun after all
	s.step()
	if n := s.last.status.Nodes; n.Total != 4 || n.Failed != 2 || n.Successful != 2 {
		t.Errorf("%+v", n)
	}
}

func TestTwoJobs(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) { o.Spec.Concurrency = 5 }), named("a", "b")...)
	s.busy["a"] = "NodeUpgradeJob old"
	s.want("a has an older job", s.step(), "b:Apply")
	s.report("b", v1alpha2.NodeSuccessful)
	s.step()
	s.phase(v1alpha2.JobInProgress, v1alpha2.ReasonWaitingForJob)
	if st := s.last.status; st.NodeStatus[0].Reason != v1alpha2.ReasonWaitingForJob || !strings.Contains(st.NodeStatus[0].Message, "NodeUpgradeJob old") {
		t.Errorf("%+v", st.NodeStatus[0])
	}
	delete(s.busy, "a")
	s.want("then", s.step(), "a:Apply")
}

func TestPostCompleteDelayAndTTL(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.PostCompleteDelay, o.Spec.TTLSecondsAfterFinished = &metav1.Duration{Duration: time.Minute}, new(int32(60))
	}), named("a", "b")...)
	s.step()
	s.report("a", v1alpha2.NodeSuccessful)
	s.want("the place stays taken", s.step())
	s.now = s.now.Add(time.Minute)
	s.want("for a minute", s.step(), "b:Apply")
	s.report("b", v1alpha2.NodeSuccessful)
	s.step()
	if s.last.expired || !s.last.next.Equal(s.now.Add(time.Minute)) {
		t.Error("expired", s.last.expired, s.last.next)
	}
	s.now = s.now.Add(time.Minute)
	if s.step(); !s.last.expired {
		t.Error("the job is not deleted after its ttl")
	}
}

func TestNoNodesAndInvalid(t *testing.T) {
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) {
		o.Spec.LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"site": "none"}}
	}), named("a")...)
	s.step()
	s.phase(v1alpha2.JobFailure, v1alpha2.ReasonNoNodes)
	for field, w := range map[string]*v1alpha2.Schedule{
		"timeZone": {Cron: "0 1 * * *", TimeZone: "Mars/Base", Duration: metav1.Duration{Duration: time.Hour}},
		"cron":     {Cron: "0 25 * * *", Duration: metav1.Duration{Duration: time.Hour}},
		"duration": {Cron: "0 1 * * *"},
	} {
		s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) { o.Spec.Window = &v1alpha2.Window{Apply: w} }), named("a")...)
		s.want("nobody begins", s.step())
		s.phase(v1alpha2.JobFailure, v1alpha2.ReasonInvalidSpec)
		if !strings.Contains(s.last.status.Message, "window.apply: "+field) {
			t.Error(s.last.status.Message)
		}
	}
}

func TestDownloadsAreBounded(t *testing.T) {
	var nodes []node
	for i := range 200 {
		nodes = append(nodes, node{name: fmt.Sprintf("n%03d", i), present: true})
	}
	s := newSim(t, upgradeJob(func(*v1alpha2.NodeUpgradeJob) {}), nodes...)
	if n := len(s.step()); n != minDownloads {
		t.Errorf("%d nodes download, want %d", n, minDownloads)
	}
	s.report("n000", v1alpha2.NodePending, v1alpha2.ActionCheck)
	s.want("one goes on, one follows", s.step(), "n000:Apply", "n050:Download")
	s.now = s.now.Add(slowDownload)
	if n := len(s.step()); n < minDownloads {
		t.Errorf("%d further nodes download when the first are slow", n)
	}
	if n := len(s.last.status.NodeStatus); n != 0 {
		t.Errorf("the status of a large job lists %d nodes that did not fail", n)
	}
}

// TestSilentNode: an edgecore that does not know jobs says nothing of them. The job says so, and
// the node keeps no place that another wants.
func TestSilentNode(t *testing.T) {
	for name, j := range map[string]*job{"download": upgradeJob(func(*v1alpha2.NodeUpgradeJob) {}), "apply": configJob(func(*v1alpha2.ConfigUpdateJob) {})} {
		t.Run(name, func(t *testing.T) {
			s := newSim(t, j, named("a", "b")...)
			s.step()
			s.now = s.now.Add(silence - time.Second)
			s.want("nothing new", s.step())
			s.phase(v1alpha2.JobInProgress, "")
			if !s.last.next.Equal(s.now.Add(time.Second)) {
				t.Error("the next look is at", s.last.next)
			}
			s.now = s.now.Add(time.Second)
			s.want("nothing new", s.step())
			s.phase(v1alpha2.JobInProgress, v1alpha2.ReasonNoReport)
			if n := s.last.status.NodeStatus[0]; n.Phase != v1alpha2.NodePending || n.Reason != v1alpha2.ReasonNoReport || n.Message == "" {
				t.Errorf("%+v", n)
			}
			s.report("a", v1alpha2.NodePending)
			s.step()
			if n := s.last.status.NodeStatus[0]; n.Reason != "" {
				t.Errorf("a node that reports: %+v", n)
			}
		})
	}
}

// TestAttackJobStatus: nodes that say as much as they may do not make the status of their job
// larger than the API server takes.
func TestAttackJobStatus(t *testing.T) {
	names := make([]string, v1alpha2.MaxNodeStatus)
	for i := range names {
		names[i] = fmt.Sprintf("n%02d", i)
	}
	s := newSim(t, configJob(func(o *v1alpha2.ConfigUpdateJob) { o.Spec.Concurrency, o.Spec.FailureTolerate = 100, "1" }), named(names...)...)
	s.step()
	for _, name := range names {
		st := v1alpha2.NodeTaskStatus{Phase: v1alpha2.NodeFailure, Reason: strings.Repeat("<", 256), Message: strings.Repeat("<", 2048)}
		for range 16 {
			st.ActionFlow = append(st.ActionFlow, v1alpha2.ActionStatus{Action: "x", Reason: strings.Repeat("<", 1024)})
		}
		s.results[name].Status.NodeTaskStatus, s.results[name].Status.Reported = st, true
	}
	s.step()
	text, err := json.Marshal(s.last.status)
	if err != nil || len(text) > 1<<20 {
		t.Errorf("the status has %d bytes, %v", len(text), err)
	}
	nodes := s.last.status.NodeStatus
	if len(nodes) != len(names) || nodes[0].Message == "" || nodes[len(nodes)-1].Phase != v1alpha2.NodeFailure || nodes[len(nodes)-1].Reason == "" {
		t.Errorf("%d nodes", len(nodes))
	}
}
