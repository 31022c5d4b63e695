package edged

import (
	"fmt"
	"slices"
	"time"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"
)

// actionKind is what an action does.
type actionKind string

const (
	actSetUp          actionKind = "set up"           // volumes and cgroups of the pod
	actCreateSandbox  actionKind = "create sandbox"   // attempt
	actKillPod        actionKind = "kill pod"         // stop all containers within grace, then all sandboxes
	actStart          actionKind = "start"            // create and start the container name, as attempt
	actStartCreated   actionKind = "start created"    // start the container id, which exists
	actKill           actionKind = "kill"             // stop the container id within grace
	actRemove         actionKind = "remove"           // remove the stopped container id
	actRemoveSandbox  actionKind = "remove sandbox"   // remove the stopped sandbox id with its containers
	actReportFinal    actionKind = "report final"     // make the last status durable
	actTearDown       actionKind = "tear down"        // volumes and cgroups
	actRemoveLogs     actionKind = "remove logs"      // the pod's folder of logs
	actReportGone     actionKind = "report gone"      // the API object may go
	actRefreshVolumes actionKind = "refresh volumes"  // bring changed content into running pods
	maxKeptPerName               = 2                  // containers kept of each name: the newest and the one before
	minimumStop                  = 2 * time.Second    // a container always has this long to stop
	deadlineReason               = "DeadlineExceeded" // status reason of a pod past its deadline
)

// action is one step towards what a pod's spec wants. Each may fail or be cut
// short at any point; the next plan starts from what is then there.
type action struct {
	kind    actionKind
	id      string
	name    string
	attempt uint32
	grace   time.Duration
	reason  string // for the event that tells of it
}

func (a action) String() string {
	s := string(a.kind)
	if a.name != "" {
		s += " " + a.name
	}
	if a.id != "" {
		s += " id=" + a.id
	}
	if a.kind == actCreateSandbox || a.kind == actStart {
		s += fmt.Sprintf(" attempt=%d", a.attempt)
	}
	if a.kind == actKill || a.kind == actKillPod {
		s += fmt.Sprintf(" grace=%s", a.grace)
	}
	return s
}

// ending is why a pod must not run any more. The later ones are stronger.
type ending int

const (
	endNone     ending = iota
	endFinished        // it reached Succeeded or Failed; its containers stay for their logs
	endDeleted         // it has a deletion timestamp
	endGone            // its API object is gone, or never was
)

// situation is all that plan decides upon.
type situation struct {
	pod          *corev1.Pod
	now          time.Time
	view         view
	ending       ending
	grace        time.Duration // for ending
	setUp        bool          // volumes are set up
	stale        bool          // content of volumes may have changed
	toreDown     bool          // volumes are gone
	finalDone    bool          // the last status is durable
	settled      time.Time     // until then, what a cut step asked of the runtime may still appear
	goneDone     bool          // the end was reported
	retry        map[string]time.Time
	health       map[string]health // by container id
	lastStatuses map[string]*corev1.ContainerStatus
	refreshAt    time.Time // when tokens are due; only passed through
}

// health is what probes found out about a container.
type health struct {
	started bool
	failed  string        // why it must be restarted, "" if it need not
	grace   time.Duration // the probe's own grace period, 0 for the pod's
}

// Keys in situation.retry besides the names of containers.
const (
	retrySandbox = ""     // what comes before containers
	retryEnd     = "/end" // what takes the pod down; no container has such a name
)

// backOff says why and until when a container is not started.
type backOff struct {
	delay time.Duration
	until time.Time
}

// decision is what plan wants done.
type decision struct {
	actions  []action
	wake     time.Time          // when to plan again without any other cause; zero for never
	backOffs map[string]backOff // by container name: those that crashed and wait
	done     bool               // nothing is left to do, ever
	finished bool               // all containers are through: the pod has Succeeded or Failed
}

func (d *decision) add(a ...action) { d.actions = append(d.actions, a...) }

// wakeAt asks for another plan at t at the latest.
func (d *decision) wakeAt(t time.Time) {
	if d.wake.IsZero() || t.Before(d.wake) {
		d.wake = t
	}
}

// starts reports whether the actions may make processes of the pod run.
func starts(actions []action) bool {
	return slices.ContainsFunc(actions, func(a action) bool {
		return a.kind == actCreateSandbox || a.kind == actStart || a.kind == actStartCreated
	})
}

// plan decides what to do for a pod. It is pure: equal situations give equal
// decisions, and doing part of a decision leads to a situation whose decision
// is the rest.
func plan(s situation) decision {
	if s.ending != endNone {
		return planEnd(s)
	}
	if until, ok := s.retry[retrySandbox]; ok && s.now.Before(until) {
		return decision{wake: until}
	}
	if attempt, needed := sandboxNeeded(s); needed {
		return planSandbox(s, attempt)
	}
	var d decision
	if !s.setUp {
		d.add(action{kind: actSetUp})
	} else if s.stale {
		d.add(action{kind: actRefreshVolumes})
	}
	initialized, failed := planInit(s, &d)
	if failed {
		d.finished = true
	} else if initialized {
		planContainers(s, &d)
	}
	if d.finished {
		return planFinish(s)
	}
	planEphemeral(s, &d)
	if len(d.actions) == 0 {
		planPrune(s, &d)
	}
	return d
}

// sandboxNeeded reports whether the pod needs a new sandbox, and which attempt
// that is.
func sandboxNeeded(s situation) (uint32, bool) {
	newest := s.view.sandbox()
	if newest == nil {
		return 0, true
	}
	usable := newest.Ready && (s.pod.Spec.HostNetwork || len(newest.IPs) > 0)
	for _, other := range s.view.sandboxes[1:] {
		usable = usable && !other.Ready
	}
	return newest.Attempt + 1, !usable
}

// planSandbox replaces the pod's sandbox, unless the pod is through.
func planSandbox(s situation, attempt uint32) decision {
	var d decision
	var wanted []*corev1.Container
	for i := range s.pod.Spec.Containers {
		c := &s.pod.Spec.Containers[i]
		if last := s.view.latest(c.Name); last == nil || last.State != runtime.ContainerExited || restarts(s.pod, c, last.ExitCode, false) {
			wanted = append(wanted, c)
		}
	}
	if initFailed(s) || len(wanted) == 0 {
		return planFinish(s)
	}
	if attempt > 0 && len(s.view.containers) > 0 && s.pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		// What still ran of a pod that never restarts is lost with its sandbox.
		return planFinish(s)
	}
	if s.view.alive() {
		d.add(action{kind: actKillPod, grace: podspec.GracePeriod(s.pod), reason: "SandboxChanged"})
		return d // what is killed must be seen to be gone first
	}
	d.add(action{kind: actSetUp}, action{kind: actCreateSandbox, attempt: attempt})
	if len(s.pod.Spec.InitContainers) > 0 {
		c := &s.pod.Spec.InitContainers[0]
		startOrWait(s, &d, c, s.view.latest(c.Name))
		return d
	}
	for _, c := range wanted {
		startOrWait(s, &d, c, s.view.latest(c.Name))
	}
	return d
}

// initFailed reports whether an init container failed for good.
func initFailed(s situation) bool {
	for i := range s.pod.Spec.InitContainers {
		c := &s.pod.Spec.InitContainers[i]
		last := s.view.latest(c.Name)
		if last != nil && last.State == runtime.ContainerExited && last.ExitCode != 0 && !restarts(s.pod, c, last.ExitCode, true) {
			return true
		}
	}
	return false
}

// planInit takes the init containers in turn. It reports whether the regular
// containers may run, and whether the pod failed.
func planInit(s situation, d *decision) (initialized, failed bool) {
	if initFailed(s) {
		return false, true
	}
	sandbox := s.view.sandbox().ID
	through := slices.ContainsFunc(s.pod.Spec.Containers, func(c corev1.Container) bool { return s.view.latestIn(sandbox, c.Name) != nil })
	// Everything before the last init container that has run has been done,
	// also when its container was collected since.
	reached := -1
	for i := range s.pod.Spec.InitContainers {
		if s.view.latestIn(sandbox, s.pod.Spec.InitContainers[i].Name) != nil {
			reached = i
		}
	}
	initialized = true
	for i := range s.pod.Spec.InitContainers {
		c := &s.pod.Spec.InitContainers[i]
		last := s.view.latestIn(sandbox, c.Name)
		side := podspec.IsSidecar(c)
		switch {
		case last == nil && (through || i < reached) && !side:
			continue
		case last == nil:
			startOrWait(s, d, c, s.view.latest(c.Name))
			initialized = initialized && through
		case last.State == runtime.ContainerRunning && side:
			if !keepRunning(s, d, c, last, sandbox) || !s.health[last.ID].started {
				initialized = initialized && through
			}
		case last.State == runtime.ContainerRunning:
			initialized = through
		case last.State == runtime.ContainerExited && last.ExitCode == 0 && !side:
			continue
		case last.State == runtime.ContainerExited && (through && !side):
			continue
		default:
			startOrWait(s, d, c, last)
			initialized = initialized && through
		}
		if !initialized {
			return false, false
		}
	}
	return initialized, false
}

// planContainers brings every regular container to where its spec, its state
// and its probes want it.
func planContainers(s situation, d *decision) {
	sandbox := s.view.sandbox().ID
	open := false // something runs, or will
	for i := range s.pod.Spec.Containers {
		c := &s.pod.Spec.Containers[i]
		last := s.view.latest(c.Name)
		switch {
		case last != nil && last.State == runtime.ContainerRunning:
			keepRunning(s, d, c, last, sandbox)
			open = true
		case last != nil && last.State == runtime.ContainerExited && !restarts(s.pod, c, last.ExitCode, false):
			continue
		default:
			startOrWait(s, d, c, last)
			open = true
		}
	}
	d.finished = !open
}

// keepRunning replaces a running container whose spec changed or whose probe
// failed, and reports whether it stays.
func keepRunning(s situation, d *decision, c *corev1.Container, run *runtime.Container, sandbox string) bool {
	h := s.health[run.ID]
	grace, again := podspec.GracePeriod(s.pod), true
	var reason string
	switch {
	case run.Annotations[runtime.AnnotationHash] != "" && run.Annotations[runtime.AnnotationHash] != podspec.ContainerHash(c):
		reason = fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)
	case h.failed != "":
		// The exit code of a killed process: what a policy is asked about.
		again = restarts(s.pod, c, 137, false)
		reason = h.failed
		if again {
			reason += ", will be restarted"
		}
		if h.grace > 0 {
			grace = h.grace
		}
	default:
		return true
	}
	d.add(action{kind: actKill, id: run.ID, name: c.Name, grace: grace, reason: reason})
	prev := s.view.before(run)
	if again && run.SandboxID == sandbox && (prev == nil || !s.now.Before(backOffUntil(prev, s.now))) {
		d.add(action{kind: actStart, name: c.Name, attempt: nextAttempt(s, c, run)})
	}
	return false
}

// startOrWait starts a container that does not run, now or after its back-off.
func startOrWait(s situation, d *decision, c *corev1.Container, last *runtime.Container) {
	if until, ok := s.retry[c.Name]; ok && s.now.Before(until) {
		d.wakeAt(until)
		return
	}
	if last != nil && last.State == runtime.ContainerUnknown {
		d.add(action{kind: actKill, id: last.ID, name: c.Name, grace: minimumStop, reason: fmt.Sprintf("Container %s is in unknown state, try killing it before restart", c.Name)})
	}
	lost := last != nil && s.view.lost(last)
	if last != nil && last.State == runtime.ContainerCreated && !lost && last.SandboxID == s.view.sandbox().ID && last.Annotations[runtime.AnnotationHash] == podspec.ContainerHash(c) {
		d.add(action{kind: actStartCreated, id: last.ID, name: c.Name})
		return
	}
	if lost && last.State == runtime.ContainerCreated {
		// It never ran: its successor takes its number, once the runtime has that back.
		d.add(action{kind: actRemove, id: last.ID, name: c.Name}, action{kind: actStart, name: c.Name, attempt: uint32(restartCount(last, s.lastStatuses[c.Name]))})
		return
	}
	if last != nil && last.State == runtime.ContainerExited && !lost {
		if until := backOffUntil(last, s.now); s.now.Before(until) {
			if d.backOffs == nil {
				d.backOffs = make(map[string]backOff)
			}
			d.backOffs[c.Name] = backOff{delay: backOffAfter(last), until: until}
			d.wakeAt(until)
			return
		}
	}
	d.add(action{kind: actStart, name: c.Name, attempt: nextAttempt(s, c, last)})
}

func nextAttempt(s situation, c *corev1.Container, last *runtime.Container) uint32 {
	status := s.lastStatuses[c.Name]
	if last == nil && (status == nil || status.ContainerID == "" && status.LastTerminationState.Terminated == nil) {
		return 0
	}
	return uint32(restartCount(last, status)) + 1
}
