package plan

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/resize"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Ending says why a pod must not run any more. A later one is stronger than those
// before it.
type Ending int

// The endings of a pod, from the weakest to the strongest.
const (
	EndNone     Ending = iota
	EndFinished        // it reached Succeeded or Failed; its containers stay for their logs
	EndDeleted         // it has a deletion timestamp
	EndGone            // its API object is gone, or never was
)

// Situation is all that Decide looks at.
type Situation struct {
	Pod           *corev1.Pod // with the resources that it was granted
	Now           time.Time
	View          View
	Ending        Ending
	Grace         time.Duration   // for ending
	GraceLimit    *time.Duration  // of an eviction; nil without
	Evicted       bool            // the node was short of something, or the pod exceeded a limit of the disk
	Stopped       map[string]bool // sandboxes that were stopped since the agent began, by id
	SetUp         bool            // volumes are set up
	Stale         bool            // content of volumes may have changed
	TornDown      bool            // volumes are gone
	UsesClaims    bool            // resource claims of the pod are prepared, or may be
	LogsRemoved   bool            // the folder of the logs is gone
	FinalReported bool            // the last status is durable
	Settled       time.Time       // until then, what a cut step asked of the runtime may still appear
	GoneReported  bool            // the end was reported
	Retry         map[string]time.Time
	MaxBackOff    time.Duration     // between restarts of a container; 0 means MaxBackOff
	Health        map[string]Health // by container id
	LastStatuses  map[string]*corev1.ContainerStatus
	RefreshAt     time.Time // when tokens are due; only passed through
	Actuated      Actuated  // what was set of its resources
	// Held says that nothing of the pod may start yet, and HeldUntil when that ends by
	// itself; zero for never.
	Held      bool
	HeldUntil time.Time
	// RestartAllUntil is when a pod may start again whose containers were all removed to
	// restart.
	RestartAllUntil time.Time
	ResizePod       bool // the pod's cgroup may not have what the pod was granted
}

// Health is what the probes of a running container found out.
type Health struct {
	Started bool
	Failed  string        // why it must be restarted, "" if it need not
	Grace   time.Duration // the probe's own grace period, 0 for the pod's
	Restart bool          // somebody at the machine wants it restarted
}

// Keys in situation.retry besides the names of containers.
const (
	RetrySandbox = ""     // what comes before containers
	RetryEnd     = "/end" // what takes the pod down; no container has such a name
	RetryResize  = "/resize"
	RetryPrune   = "/prune" // what removes old containers and sandboxes of a pod that runs
)

// BackOff says how long, and until when, a crashed container waits before it
// restarts.
type BackOff struct {
	delay time.Duration
	until time.Time
}

// Decision is what Decide wants to be done.
type Decision struct {
	Actions  []Action
	RetryKey string             // in Situation.Retry: what waits when one of the actions fails
	Wake     time.Time          // when to plan again without any other cause; zero for never
	BackOffs map[string]BackOff // by container name: those that crashed and wait
	Done     bool               // nothing is left to do, ever
	Finished bool               // all containers are through: the pod has Succeeded or Failed
}

func (d *Decision) add(a ...Action) { d.Actions = append(d.Actions, a...) }

// wakeAt asks for another decision at t at the latest.
func (d *Decision) wakeAt(t time.Time) {
	if d.Wake.IsZero() || t.Before(d.Wake) {
		d.Wake = t
	}
}

// StartsProcesses reports whether the actions may make processes of the pod run.
// While such actions are under way the pod is alive, whatever the runtime lists.
func StartsProcesses(actions []Action) bool {
	return slices.ContainsFunc(actions, func(a Action) bool {
		return a.Kind == ActCreateSandbox || a.Kind == ActStart || a.Kind == ActStartCreated
	})
}

// Resizes reports whether the actions change the resources of the pod.
func Resizes(actions []Action) bool {
	return slices.ContainsFunc(actions, func(a Action) bool { return a.Kind == ActResize })
}

// Decide says what to do next for a pod. It is pure: equal situations give equal
// decisions, and doing a part of a decision leads to a situation whose decision is
// the rest.
//
// The order is that of the kubelet's SyncPod: a sandbox first, then init
// containers and sidecars one after the other, then the regular containers at
// once, and ephemeral containers whatever else happens. Old containers are removed
// only when nothing else is to do.
func Decide(s Situation) Decision {
	if s.Ending != EndNone {
		return planEnd(s)
	}
	if s.Held {
		return Decision{Wake: s.HeldUntil}
	}
	if until, ok := s.Retry[RetrySandbox]; ok && s.Now.Before(until) {
		return Decision{Wake: until}
	}
	if attempt, needed := sandboxNeeded(s); needed {
		return planSandbox(s, attempt)
	}
	if d, only := planRestartAll(s); only {
		return d
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
	placeResize(s, &d)
	if len(d.Actions) == 0 {
		planPrune(s, &d)
	}
	return d
}

// sandboxNeeded reports whether the pod needs a new sandbox, and which attempt
// that is. It does when it has none that is ready, when that has no address of its
// own though it should, and when an older one is still ready beside it.
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

// planSandbox replaces the sandbox of a pod. A pod that has finished gets none:
// nothing of it would run there.
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
		// A pod that never restarts has lost what still ran with its sandbox.
		return planFinish(s)
	}
	if s.View.Alive() {
		d.add(Action{Kind: ActKillPod, Grace: podspec.GracePeriod(s.Pod), Reason: reasonSandboxChanged})
		return d // the new sandbox follows when the old processes are seen to be gone
	}
	d.add(stopSandboxes(s, reasonSandboxChanged)...)
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

// stopSandboxes stops the sandboxes that are not ready and were not stopped yet: one
// whose processes died by themselves, in a power cut for example, still has its network
// and so its address. CRI asks for it as soon as a sandbox is not needed, and before it is
// removed (RuntimeService.StopPodSandbox); a kubelet stops all sandboxes of a pod before
// it makes a new one (killPodWithSyncResult). The reason is that of an event about the
// newest; "" is for none.
func stopSandboxes(s Situation, reason string) []Action {
	var all []Action
	for i, sb := range s.View.Sandboxes {
		if sb.Ready || s.Stopped[sb.ID] {
			continue
		}
		stop := Action{Kind: ActStopSandbox, ID: sb.ID}
		if i == 0 {
			stop.Reason = reason
		}
		all = append(all, stop)
	}
	return all
}

// planContainers starts, restarts or replaces the regular containers, as their
// spec, their state and their probes demand. The pod has finished when none of
// them runs or will run.
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

// resizeRestarts reports whether a running container must restart to get the
// resources that its pod was granted, by its resizePolicy.
func resizeRestarts(s Situation, c *corev1.Container, run *runtime.Container) bool {
	ch, changes := change(s, c, run)
	return changes && resize.NeedsRestart(c, ch.From, ch.To)
}

// keepRunning stops a running container whose image changed in the spec, or whose
// liveness or startup probe failed, and starts its successor unless that has to
// wait. It reports whether the container stays.
func keepRunning(s Situation, d *Decision, c *corev1.Container, run *runtime.Container, sandbox string) bool {
	h := s.Health[run.ID]
	grace, again := podspec.GracePeriod(s.Pod), true
	var reason string
	switch {
	case run.Annotations[runtime.AnnotationHash] != "" && run.Annotations[runtime.AnnotationHash] != podspec.ContainerHash(c):
		reason = fmt.Sprintf("Container %s definition changed, will be restarted", c.Name)
	case h.Failed != "":
		// A killed process exits with 128+9: restart rules are asked about that code.
		again = restarts(s.Pod, c, 137, false)
		reason = h.Failed
		if again {
			reason += ", will be restarted"
		}
		if h.Grace > 0 {
			grace = h.Grace
		}
	case h.Restart, resizeRestarts(s, c, run):
		reason = fmt.Sprintf("Container %s resize requires restart", c.Name)
		if h.Restart {
			reason = fmt.Sprintf("Container %s is restarted by the node's administrator", c.Name)
		}
		d.add(Action{Kind: ActKill, ID: run.ID, Name: c.Name, Grace: grace, Reason: reason}, Action{Kind: ActStart, Name: c.Name, Attempt: nextAttempt(s, c, run)})
		return false // it did not crash: there is no back-off
	default:
		return true
	}
	d.add(Action{Kind: ActKill, ID: run.ID, Name: c.Name, Grace: grace, Reason: reason})
	prev := s.View.before(run)
	if mayRestartAll(c) {
		return false // what comes next depends on how it exits
	}
	if again && run.SandboxID == sandbox && (prev == nil || !s.Now.Before(backOffUntil(prev, s.Now, s.MaxBackOff))) {
		d.add(Action{Kind: ActStart, Name: c.Name, Attempt: nextAttempt(s, c, run)})
	}
	return false
}

// startOrWait starts a container that does not run: now, or when its back-off has
// passed. The back-off is that of
// https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy.
// A container that was lost with its sandbox did not crash and starts at once.
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
		// It never ran, so that this is no restart: its successor gets the same attempt.
		// The runtime refuses two containers with one name and attempt, so it goes first.
		d.add(Action{Kind: ActRemove, ID: last.ID, Name: c.Name}, Action{Kind: ActStart, Name: c.Name, Attempt: uint32(restartCount(last, s.LastStatuses[c.Name]))})
		return
	}
	if last != nil && last.State == runtime.ContainerExited && !lost {
		if until := backOffUntil(last, s.Now, s.MaxBackOff); s.Now.Before(until) {
			if d.BackOffs == nil {
				d.BackOffs = make(map[string]BackOff)
			}
			d.BackOffs[c.Name] = BackOff{delay: backOffAfter(last, s.MaxBackOff), until: until}
			d.wakeAt(until)
			return
		}
	}
	d.add(Action{Kind: ActStart, Name: c.Name, Attempt: nextAttempt(s, c, last)})
}

// nextAttempt is the attempt of the successor of last: the restart count plus one,
// also where the runtime has forgotten the container and only the reported status
// remembers it.
func nextAttempt(s Situation, c *corev1.Container, last *runtime.Container) uint32 {
	status := s.LastStatuses[c.Name]
	if last == nil && (status == nil || status.ContainerID == "" && status.LastTerminationState.Terminated == nil) {
		return 0
	}
	return uint32(restartCount(last, status)) + 1
}
