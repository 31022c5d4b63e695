package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// ActionKind is what an action does.
type ActionKind string

const (
	ActSetUp               ActionKind = "set up"           // volumes and cgroups of the pod
	ActCreateSandbox       ActionKind = "create sandbox"   // attempt
	ActKillPod             ActionKind = "kill pod"         // stop all containers within grace, then all sandboxes
	ActStart               ActionKind = "start"            // create and start the container name, as attempt
	ActStartCreated        ActionKind = "start created"    // start the container id, which exists
	ActKill                ActionKind = "kill"             // stop the container id within grace
	ActRemove              ActionKind = "remove"           // remove the stopped container id
	ActRemoveSandbox       ActionKind = "remove sandbox"   // remove the stopped sandbox id with its containers
	ActReportFinal         ActionKind = "report final"     // make the last status durable
	ActTearDown            ActionKind = "tear down"        // volumes and cgroups
	ActRemoveLogs          ActionKind = "remove logs"      // the pod's folder of logs
	ActReportGone          ActionKind = "report gone"      // the API object may go
	ActRefreshVolumes      ActionKind = "refresh volumes"  // bring changed content into running pods
	maxKeptPerName                    = 2                  // containers kept of each name: the newest and the one before
	MinStopTimeout                    = 2 * time.Second    // a container always has this long to stop
	ReasonDeadlineExceeded            = "DeadlineExceeded" // status reason of a pod past its deadline
)

// Action is one step towards what a pod's spec wants. Each may fail or be cut
// short at any point; the next plan starts from what is then there.
type Action struct {
	Kind    ActionKind
	ID      string
	Name    string
	Attempt uint32
	Grace   time.Duration
	Reason  string // for the event that tells of it
}

func (a Action) String() string {
	s := string(a.Kind)
	if a.Name != "" {
		s += " " + a.Name
	}
	if a.ID != "" {
		s += " id=" + a.ID
	}
	if a.Kind == ActCreateSandbox || a.Kind == ActStart {
		s += fmt.Sprintf(" attempt=%d", a.Attempt)
	}
	if a.Kind == ActKill || a.Kind == ActKillPod {
		s += fmt.Sprintf(" grace=%s", a.Grace)
	}
	return s
}

// Ending is why a pod must not run any more. The later ones are stronger.
type Ending int

const (
	EndNone     Ending = iota
	EndFinished        // it reached Succeeded or Failed; its containers stay for their logs
	EndDeleted         // it has a deletion timestamp
	EndGone            // its API object is gone, or never was
)

// Situation is all that plan decides upon.
type Situation struct {
	Pod           *corev1.Pod
	Now           time.Time
	View          View
	Ending        Ending
	Grace         time.Duration // for ending
	SetUp         bool          // volumes are set up
	Stale         bool          // content of volumes may have changed
	TornDown      bool          // volumes are gone
	FinalReported bool          // the last status is durable
	Settled       time.Time     // until then, what a cut step asked of the runtime may still appear
	GoneReported  bool          // the end was reported
	Retry         map[string]time.Time
	Health        map[string]Health // by container id
	LastStatuses  map[string]*corev1.ContainerStatus
	RefreshAt     time.Time // when tokens are due; only passed through
}

// Health is what probes found out about a container.
type Health struct {
	Started bool
	Failed  string        // why it must be restarted, "" if it need not
	Grace   time.Duration // the probe's own grace period, 0 for the pod's
}

// Keys in situation.retry besides the names of containers.
const (
	RetrySandbox = ""     // what comes before containers
	RetryEnd     = "/end" // what takes the pod down; no container has such a name
)

// BackOff says why and until when a container is not started.
type BackOff struct {
	delay time.Duration
	until time.Time
}

// Decision is what plan wants done.
type Decision struct {
	Actions  []Action
	Wake     time.Time          // when to plan again without any other cause; zero for never
	BackOffs map[string]BackOff // by container name: those that crashed and wait
	Done     bool               // nothing is left to do, ever
	Finished bool               // all containers are through: the pod has Succeeded or Failed
}

func (d *Decision) add(a ...Action) { d.Actions = append(d.Actions, a...) }

// wakeAt asks for another plan at t at the latest.
func (d *Decision) wakeAt(t time.Time) {
	if d.Wake.IsZero() || t.Before(d.Wake) {
		d.Wake = t
	}
}

// StartsProcesses reports whether the actions may make processes of the pod run.
func StartsProcesses(actions []Action) bool {
	return slices.ContainsFunc(actions, func(a Action) bool {
		return a.Kind == ActCreateSandbox || a.Kind == ActStart || a.Kind == ActStartCreated
	})
}

// Decide decides what to do for a pod. It is pure: equal situations give equal
// decisions, and doing part of a decision leads to a situation whose decision
// is the rest.
func Decide(s Situation) Decision {
	if s.Ending != EndNone {
		return planEnd(s)
	}
	if until, ok := s.Retry[RetrySandbox]; ok && s.Now.Before(until) {
		return Decision{Wake: until}
	}
	if attempt, needed := sandboxNeeded(s); needed {
		return planSandbox(s, attempt)
	}
	var d Decision
	if !s.SetUp {
		d.add(Action{Kind: ActSetUp})
	} else if s.Stale {
		d.add(Action{Kind: ActRefreshVolumes})
	}
	initialized, failed := planInit(s, &d)
	if failed {
		d.Finished = true
	} else if initialized {
		planContainers(s, &d)
	}
	if d.Finished {
		return planFinish(s)
	}
	planEphemeral(s, &d)
	if len(d.Actions) == 0 {
		planPrune(s, &d)
	}
	return d
}

// sandboxNeeded reports whether the pod needs a new sandbox, and which attempt
// that is.
func sandboxNeeded(s Situation) (uint32, bool) {
	newest := s.View.Sandbox()
	if newest == nil {
		return 0, true
	}
	usable := newest.Ready && (s.Pod.Spec.HostNetwork || len(newest.IPs) > 0)
	for _, other := range s.View.Sandboxes[1:] {
		usable = usable && !other.Ready
	}
	return newest.Attempt + 1, !usable
}

// planSandbox replaces the pod's sandbox, unless the pod is through.
func planSandbox(s Situation, attempt uint32) Decision {
	var d Decision
	var wanted []*corev1.Container
	for i := range s.Pod.Spec.Containers {
		c := &s.Pod.Spec.Containers[i]
		if last := s.View.Latest(c.Name); last == nil || last.State != runtime.ContainerExited || restarts(s.Pod, c, last.ExitCode, false) {
			wanted = append(wanted, c)
		}
	}
	if initFailed(s) || len(wanted) == 0 {
		return planFinish(s)
	}
	if attempt > 0 && len(s.View.Containers) > 0 && s.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		// What still ran of a pod that never restarts is lost with its sandbox.
		return planFinish(s)
	}
	if s.View.Alive() {
		d.add(Action{Kind: ActKillPod, Grace: podspec.GracePeriod(s.Pod), Reason: "SandboxChanged"})
		return d // what is killed must be seen to be gone first
	}
	d.add(Action{Kind: ActSetUp}, Action{Kind: ActCreateSandbox, Attempt: attempt})
	if len(s.Pod.Spec.InitContainers) > 0 {
		c := &s.Pod.Spec.InitContainers[0]
		startOrWait(s, &d, c, s.View.Latest(c.Name))
		return d
	}
	for _, c := range wanted {
		startOrWait(s, &d, c, s.View.Latest(c.Name))
	}
	return d
}

// initFailed reports whether an init container failed for good.
func initFailed(s Situation) bool {
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		last := s.View.Latest(c.Name)
		if last != nil && last.State == runtime.ContainerExited && last.ExitCode != 0 && !restarts(s.Pod, c, last.ExitCode, true) {
			return true
		}
	}
	return false
}

// planInit takes the init containers in turn. It reports whether the regular
// containers may run, and whether the pod failed.
func planInit(s Situation, d *Decision) (initialized, failed bool) {
	if initFailed(s) {
		return false, true
	}
	sandbox := s.View.Sandbox().ID
	through := slices.ContainsFunc(s.Pod.Spec.Containers, func(c corev1.Container) bool { return s.View.latestIn(sandbox, c.Name) != nil })
	// Everything before the last init container that has run has been done,
	// also when its container was collected since.
	reached := -1
	for i := range s.Pod.Spec.InitContainers {
		if s.View.latestIn(sandbox, s.Pod.Spec.InitContainers[i].Name) != nil {
			reached = i
		}
	}
	initialized = true
	for i := range s.Pod.Spec.InitContainers {
		c := &s.Pod.Spec.InitContainers[i]
		last := s.View.latestIn(sandbox, c.Name)
		side := podspec.IsSidecar(c)
		switch {
		case last == nil && (through || i < reached) && !side:
			continue
		case last == nil:
			startOrWait(s, d, c, s.View.Latest(c.Name))
			initialized = initialized && through
		case last.State == runtime.ContainerRunning && side:
			if !keepRunning(s, d, c, last, sandbox) || !s.Health[last.ID].Started {
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
func planContainers(s Situation, d *Decision) {
	sandbox := s.View.Sandbox().ID
	open := false // something runs, or will
	for i := range s.Pod.Spec.Containers {
		c := &s.Pod.Spec.Containers[i]
		last := s.View.Latest(c.Name)
		switch {
		case last != nil && last.State == runtime.ContainerRunning:
			keepRunning(s, d, c, last, sandbox)
			open = true
		case last != nil && last.State == runtime.ContainerExited && !restarts(s.Pod, c, last.ExitCode, false):
			continue
		default:
			startOrWait(s, d, c, last)
			open = true
		}
	}
	d.Finished = !open
}

// keepRunning replaces a running container whose spec changed or whose probe
// failed, and reports whether it stays.
func keepRunning(s Situation, d *Decision, c *corev1.Container, run *runtime.Container, sandbox string) bool {
	h := s.Health[run.ID]
	grace, again := podspec.GracePeriod(s.Pod), true
	var reason string
	switch {
	case run.Annotations[runtime.AnnotationHash] != "" && run.Annotations[runtime.AnnotationHash] != podspec.ContainerHash(c):
		reason = fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)
	case h.Failed != "":
		// The exit code of a killed process: what a policy is asked about.
		again = restarts(s.Pod, c, 137, false)
		reason = h.Failed
		if again {
			reason += ", will be restarted"
		}
		if h.Grace > 0 {
			grace = h.Grace
		}
	default:
		return true
	}
	d.add(Action{Kind: ActKill, ID: run.ID, Name: c.Name, Grace: grace, Reason: reason})
	prev := s.View.before(run)
	if again && run.SandboxID == sandbox && (prev == nil || !s.Now.Before(backOffUntil(prev, s.Now))) {
		d.add(Action{Kind: ActStart, Name: c.Name, Attempt: nextAttempt(s, c, run)})
	}
	return false
}

// startOrWait starts a container that does not run, now or after its back-off.
func startOrWait(s Situation, d *Decision, c *corev1.Container, last *runtime.Container) {
	if until, ok := s.Retry[c.Name]; ok && s.Now.Before(until) {
		d.wakeAt(until)
		return
	}
	if last != nil && last.State == runtime.ContainerUnknown {
		d.add(Action{Kind: ActKill, ID: last.ID, Name: c.Name, Grace: MinStopTimeout, Reason: fmt.Sprintf("Container %s is in unknown state, try killing it before restart", c.Name)})
	}
	lost := last != nil && s.View.lost(last)
	if last != nil && last.State == runtime.ContainerCreated && !lost && last.SandboxID == s.View.Sandbox().ID && last.Annotations[runtime.AnnotationHash] == podspec.ContainerHash(c) {
		d.add(Action{Kind: ActStartCreated, ID: last.ID, Name: c.Name})
		return
	}
	if lost && last.State == runtime.ContainerCreated {
		// It never ran: its successor takes its number, once the runtime has that back.
		d.add(Action{Kind: ActRemove, ID: last.ID, Name: c.Name}, Action{Kind: ActStart, Name: c.Name, Attempt: uint32(restartCount(last, s.LastStatuses[c.Name]))})
		return
	}
	if last != nil && last.State == runtime.ContainerExited && !lost {
		if until := backOffUntil(last, s.Now); s.Now.Before(until) {
			if d.BackOffs == nil {
				d.BackOffs = make(map[string]BackOff)
			}
			d.BackOffs[c.Name] = BackOff{delay: backOffAfter(last), until: until}
			d.wakeAt(until)
			return
		}
	}
	d.add(Action{Kind: ActStart, Name: c.Name, Attempt: nextAttempt(s, c, last)})
}

func nextAttempt(s Situation, c *corev1.Container, last *runtime.Container) uint32 {
	status := s.LastStatuses[c.Name]
	if last == nil && (status == nil || status.ContainerID == "" && status.LastTerminationState.Terminated == nil) {
		return 0
	}
	return uint32(restartCount(last, status)) + 1
}
