package edged

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/volume"
)

// The waits after a failure before a pod's containers, doubling, and of one
// container.
const (
	setUpRetryFirst = 500 * time.Millisecond
	setUpRetryMax   = 30 * time.Second
	createRetry     = 5 * time.Second
	createRetryMax  = 40 * time.Second
)

// execution is a list of actions under way: what later actions need of earlier
// ones.
type execution struct {
	w       *worker
	s       plan.Situation
	pod     *corev1.Pod // with the addresses of the sandbox in its status
	sandbox *runtime.SandboxConfig
	id      string // of the sandbox
	refused error  // why the sandbox that is there cannot be used; nil if it can
}

// execute performs the actions in order. A failure ends the step where later
// actions build on what failed; the next decision starts from what is then there.
func (w *worker) execute(ctx context.Context, s plan.Situation, d plan.Decision) {
	r := &execution{w: w, s: s, pod: s.Pod}
	if sb := s.View.Sandbox(); sb != nil && sb.Ready {
		r.useSandbox(*sb)
	}
	retry := d.RetryKey
	for _, a := range d.Actions {
		if ctx.Err() != nil {
			return
		}
		err := r.perform(ctx, a)
		if err == nil {
			continue
		}
		if ctx.Err() != nil {
			return
		}
		w.a.log.Debug("an action failed", "pod", podspec.Title(s.Pod), "action", a.String(), "err", err)
		var own *startError
		switch isStart := errors.As(err, &own); {
		case isStart && own.reason == plan.ReasonSandboxLost:
			w.lostSandbox(r.id)
			return
		case !isStart:
			if (retry == plan.RetryEnd || a.Kind == plan.ActStopSandbox) && r.pod.Name != "" {
				w.a.events.Pod(r.pod, corev1.EventTypeWarning, "FailedKillPod", fmt.Sprintf("error killing pod: failed to %s: %v", a.Kind, err))
			}
			w.backOff(retry, setUpRetryFirst, setUpRetryMax)
			return
		}
	}
	w.clearBackOff(retry)
}

// act performs one action.
func (r *execution) act(ctx context.Context, a plan.Action) error {
	rt := r.w.a.cfg.Runtime
	switch a.Kind {
	case plan.ActSetUp, plan.ActRefreshVolumes:
		return r.setUp(ctx, a.Kind == plan.ActSetUp)
	case plan.ActNoteRestartAll:
		r.w.updateMemory((*memory).noteRestartAll)
		return nil
	case plan.ActResize:
		r.resize(ctx)
		return nil
	case plan.ActCreateSandbox:
		return r.createSandbox(ctx, a)
	case plan.ActStart:
		return r.startContainer(ctx, a)
	case plan.ActStartCreated:
		return r.startCreated(ctx, a)
	case plan.ActKill:
		for _, c := range r.s.View.Containers {
			if c.ID == a.ID {
				return r.kill(ctx, c, a.Grace, a.Reason)
			}
		}
		return nil
	case plan.ActKillPod:
		return r.killPod(ctx, a)
	case plan.ActRemove:
		r.removeLog(a.ID)
		return rt.RemoveContainer(ctx, a.ID)
	case plan.ActStopSandbox:
		return r.stopSandbox(ctx, a)
	case plan.ActRemoveSandbox:
		defer r.w.a.removeSlots.Acquire(ctx)()
		return rt.RemoveSandbox(ctx, a.ID)
	case plan.ActUnprepare:
		return r.w.a.cfg.ResourceClaims.Unprepare(ctx, string(r.pod.UID))
	case plan.ActTearDown:
		return r.tearDown(ctx)
	case plan.ActRemoveLogs:
		if err := r.w.a.removeLogs(r.pod); err != nil {
			return err
		}
		r.w.updateMemory(func(m *memory) { m.logsRemoved = true })
		return nil
	case plan.ActReportGone:
		if err := r.w.a.cfg.Reports.PodGone(ctx, r.pod); err != nil {
			return err
		}
		r.w.updateMemory(func(m *memory) { m.goneReported = true })
		return nil
	}
	return fmt.Errorf("edged: no such action: %s", a.Kind)
}

// noteRestartAll begins the pause before the containers of a pod start again, which are
// all removed.
func (m *memory) noteRestartAll() {
	now := time.Now()
	if now.Before(m.restartAllUntil) {
		return // the step before was cut short
	}
	ran := time.Duration(-1)
	if !m.restartAllUntil.IsZero() {
		ran = now.Sub(m.restartAllUntil)
	}
	m.restartAllDelay = plan.RestartAllBackOff(m.restartAllDelay, ran)
	m.restartAllUntil = now.Add(m.restartAllDelay)
}

// updateMemory changes the worker's memory under its mutex.
func (w *worker) updateMemory(fn func(*memory)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn(&w.mem)
}

// lostSandbox notes that a sandbox died under a step. The next decision replaces
// it at once. A runtime that goes on listing the same sandbox as ready is given a
// pause.
func (w *worker) lostSandbox(id string) {
	again := false
	w.updateMemory(func(m *memory) { again, m.lost = m.lost == id, id })
	if again {
		w.backOff(plan.RetrySandbox, setUpRetryFirst, setUpRetryMax)
	}
}

// backOff postpones the next try of what name stands for: a container, or a key of
// plan.Situation.Retry.
func (w *worker) backOff(name string, first, most time.Duration) {
	w.updateMemory(func(m *memory) {
		m.fails[name]++
		wait := min(first<<min(m.fails[name]-1, 16), most)
		m.retry[name] = time.Now().Add(wait)
	})
}

// clearBackOff forgets the failures of what name stands for.
func (w *worker) clearBackOff(name string) {
	w.updateMemory(func(m *memory) {
		delete(m.fails, name)
		delete(m.retry, name)
		delete(m.waiting, name)
	})
}

// useSandbox makes a sandbox the one that containers are put into, and fills in
// the addresses of the pod, which variables and the hosts file show.
func (r *execution) useSandbox(sb runtime.Sandbox) {
	r.id = sb.ID
	pod := r.s.Pod.DeepCopy()
	hosts := r.w.a.node.Addresses()
	ips := plan.SortIPs(sb.IPs, hosts)
	if pod.Spec.HostNetwork {
		ips = hosts
	}
	pod.Status.PodIPs, pod.Status.HostIPs, pod.Status.PodIP, pod.Status.HostIP = nil, nil, "", ""
	for _, ip := range ips {
		pod.Status.PodIPs = append(pod.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	for _, ip := range hosts {
		pod.Status.HostIPs = append(pod.Status.HostIPs, corev1.HostIP{IP: ip})
	}
	if len(ips) > 0 {
		pod.Status.PodIP = ips[0]
	}
	if len(hosts) > 0 {
		pod.Status.HostIP = hosts[0]
	}
	r.pod = pod
	r.sandbox, r.refused = r.adoptedConfig(sb)
}

// setUp prepares or refreshes the volumes and, the first time, the pod's cgroup
// and folder of logs.
func (r *execution) setUp(ctx context.Context, first bool) error {
	a := r.w.a
	if first {
		if err := r.prepareDevices(ctx); err != nil {
			return err
		}
	}
	prepare := a.volumes.SetUp
	// Refresh keeps what it cannot read; SetUp fails, since the pod must not start without.
	if !first || r.id != "" { // a sandbox is made after the volumes: this pod runs already
		prepare = a.volumes.Refresh
	}
	prepared, err := prepare(ctx, r.pod, podspec.ContainerAllocatable(r.pod, a.node.Allocatable()))
	r.reportTokenExpiry(prepared.Expired)
	if err != nil {
		for _, e := range splitErrors(err) {
			var ve *volume.Error
			if errors.As(e, &ve) && ve.Reason() != "" && ctx.Err() == nil {
				a.events.Pod(r.pod, corev1.EventTypeWarning, ve.Reason(), ve.Error())
			}
		}
		if !first {
			a.log.Debug("cannot refresh volumes", "pod", podspec.Title(r.pod), "err", err)
			r.w.updateMemory(func(m *memory) { m.stale, m.refresh = false, time.Now().Add(setUpRetryMax) })
			return nil // the old content stays
		}
		return err
	}
	if first {
		if err := r.setUpCgroup(); err != nil {
			return err
		}
		if err := os.MkdirAll(podlogs.Dir(a.cfg.LogRoot, r.pod), 0o755); err != nil {
			return err
		}
	}
	r.w.updateMemory(func(m *memory) {
		m.setUp, m.stale, m.tornDown, m.logsRemoved, m.refresh = true, false, false, false, prepared.Refresh
	})
	return nil
}

// setUpCgroup makes the pod's cgroup and limits it. While the resources of a running
// pod are being changed the limits are a matter of that.
func (r *execution) setUpCgroup() error {
	a := r.w.a
	if !a.limitsPods() || r.id != "" && plan.ResizeDue(r.s) {
		return nil
	}
	err := a.groups.Load().SetUp(podspec.QOSClass(r.pod), string(r.pod.UID), a.podLimits(r.pod))
	if err == nil {
		r.w.mu.Lock()
		defer r.w.mu.Unlock()
		r.w.resize.pod = r.w.resize.pod && r.id != "" // nothing runs: the group has what was granted
		return nil
	}
	// Limits of the pod as a whole (KEP-2837) would bind nothing without the cgroup.
	if len(podspec.PodResources(r.pod).Limits) > 0 {
		a.events.Pod(r.pod, corev1.EventTypeWarning, "FailedCreatePodContainer", "cannot limit the pod as a whole, as spec.resources asks: "+err.Error())
		return err
	}
	// Containers have limits of their own: the pod runs without a common one.
	a.log.Warn("cannot limit a pod as a whole", "pod", podspec.Title(r.pod), "err", err)
	return nil
}

// reportTokenExpiry records an event when the pod's service account tokens begin
// to be expired, and when they are fresh again.
func (r *execution) reportTokenExpiry(expired time.Time) {
	var before bool
	r.w.updateMemory(func(m *memory) { before, m.expired = m.expired, !expired.IsZero() })
	switch events := r.w.a.events; {
	case !before && !expired.IsZero():
		events.Pod(r.pod, corev1.EventTypeWarning, "TokenExpired", fmt.Sprintf(
			"A service account token or a certificate expired at %s and cannot be renewed while the cloud is out of reach. The pod keeps it until then.", expired.UTC().Format(time.RFC3339)))
	case before && expired.IsZero():
		events.Pod(r.pod, corev1.EventTypeNormal, "TokenRenewed", "The service account tokens and certificates of the pod are fresh again.")
	}
}

// splitErrors takes joined errors apart.
func splitErrors(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

// createSandbox creates and starts a sandbox. The events about the pod as a whole
// are recorded with the first one only: the runtime remembers that the pod had a
// sandbox.
func (r *execution) createSandbox(ctx context.Context, a plan.Action) error {
	agent := r.w.a
	cfg, err := r.newSandboxConfig(ctx, a.Attempt)
	if err == nil {
		err = r.prepareClaims(ctx)
	}
	if err == nil {
		if cfg.Resources != nil && agent.placement.OwnsCPUs(r.pod) {
			cfg.Resources.CPUQuota, cfg.Resources.CPUPeriod = 0, 0
		}
		var id string
		if id, err = agent.cfg.Runtime.RunSandbox(ctx, cfg); err != nil {
			err = withHandler(err, r.pod, cfg.Handler)
		} else {
			var sb runtime.Sandbox
			if sb, err = agent.cfg.Runtime.SandboxStatus(ctx, id); err == nil {
				if a.Attempt == 0 {
					agent.complainDNS(r.pod) // once: the runtime remembers that the pod had a sandbox
				}
				agent.metrics.SandboxMade(nil)
				r.useSandbox(sb)
				r.w.clearBackOff(plan.RetrySandbox)
				r.w.noteRefusal(nil)
				agent.checkCgroupDriver(r.pod)
				return nil
			}
		}
	}
	if ctx.Err() == nil {
		agent.metrics.SandboxMade(err)
		r.w.noteRefusal(err)
		reason, message := podspec.SandboxFailure(err)
		agent.events.Pod(r.pod, corev1.EventTypeWarning, reason, message)
		agent.recordNetwork(ctx, r.pod)
	}
	return err
}

// checkCgroupDriver says, once, that the runtime makes its cgroups in another way than
// it is taken to.
func (a *Agent) checkCgroupDriver(pod *corev1.Pod) {
	if !a.limitsPods() || !a.groups.Load().Misplaced(podspec.QOSClass(pod), string(pod.UID)) || !a.specs.FirstNotice("WrongCgroupDriver") {
		return
	}
	const message = "the runtime does not have systemd make its cgroups, so that limits of pods as a whole do not bind: run edgecore with --cgroup-driver cgroupfs (SDK: cri.Config.CgroupDriver)"
	a.log.Warn(message)
	a.events.Node(corev1.EventTypeWarning, "WrongCgroupDriver", message)
}

// tearDown removes the pod's volumes and cgroups. The class of the pod may have
// changed since its cgroup was made, so all are looked for.
func (r *execution) tearDown(ctx context.Context) error {
	a := r.w.a
	if err := a.volumes.TearDownPod(ctx, string(r.pod.UID)); err != nil {
		return err
	}
	if a.limitsPods() {
		for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
			err := a.groups.Load().TearDown(class, string(r.pod.UID))
			if errors.Is(err, cgroup.ErrBusy) {
				return err // its processes were killed: one of the next tries finds it empty
			}
			if err != nil {
				a.log.Debug("cannot remove a pod's cgroup", "pod", podspec.Title(r.pod), "err", err)
			}
		}
	}
	r.w.updateMemory(func(m *memory) { m.tornDown, m.setUp = true, false })
	return nil
}

// removeLog removes the log of a container that is removed.
func (r *execution) removeLog(id string) {
	for _, c := range r.s.View.Containers {
		if c.ID == id && filepath.IsLocal(c.Name) && r.pod.Name != "" {
			// Logs are no promise: what cannot be removed goes with the pod.
			_ = podlogs.RemoveFile(podlogs.File(r.w.a.cfg.LogRoot, r.pod, c.Name, c.Attempt))
			_ = podlogs.Unlink(r.w.a.cfg.ContainerLogs.Links, r.pod, c.Name, c.ID)
		}
	}
}
