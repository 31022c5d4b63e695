package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/cgroup"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/volume"
)

// useSandbox makes a sandbox the one that containers are put into, and fills in
// the addresses of the pod, which variables and the hosts file show.
func (r *execution) useSandbox(sb runtime.Sandbox) {
	r.id = sb.ID
	pod := r.s.Pod.DeepCopy()
	hosts := r.p.cfg.Node.Addresses()
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
	if first {
		if err := r.prepareDevices(ctx); err != nil {
			return err
		}
	}
	prepare := r.p.cfg.Volumes.SetUp
	// Refresh keeps what it cannot read; SetUp fails, since the pod must not start without.
	if !first || r.id != "" { // a sandbox is made after the volumes: this pod runs already
		prepare = r.p.cfg.Volumes.Refresh
	}
	prepared, err := prepare(ctx, r.pod, podspec.ContainerAllocatable(r.pod, r.p.cfg.Node.Allocatable()))
	r.reportTokenExpiry(prepared.Expired)
	if err != nil {
		for _, e := range splitErrors(err) {
			var ve *volume.Error
			if errors.As(e, &ve) && ve.Reason() != "" && ctx.Err() == nil {
				r.p.cfg.Events.Pod(r.pod, corev1.EventTypeWarning, ve.Reason(), ve.Error())
			}
		}
		if !first {
			r.p.cfg.Logger.Debug("cannot refresh volumes", "pod", podspec.Title(r.pod), "err", err)
			r.owner.Update(func(m *Memory) { m.Stale, m.Refresh = false, time.Now().Add(setUpRetryMax) })
			return nil // the old content stays
		}
		return err
	}
	if first {
		if err := r.setUpCgroup(); err != nil {
			return err
		}
		if err := os.MkdirAll(podlogs.Dir(r.p.cfg.LogRoot, r.pod), 0o755); err != nil {
			return err
		}
	}
	r.owner.Update(func(m *Memory) {
		m.SetUp, m.Stale, m.TornDown, m.LogsRemoved, m.Refresh = true, false, false, false, prepared.Refresh
	})
	return nil
}

// setUpCgroup makes the pod's cgroup and limits it. While the resources of a running
// pod are being changed the limits are a matter of that.
func (r *execution) setUpCgroup() error {
	if !r.p.cfg.Groups.LimitPods() || r.id != "" && plan.ResizeDue(r.s) {
		return nil
	}
	err := r.p.cfg.Groups.Load().SetUp(podspec.QOSClass(r.pod), string(r.pod.UID), r.p.podLimits(r.pod))
	if err == nil {
		r.owner.Update(func(m *Memory) {
			m.Resize.Group = m.Resize.Group && r.id != "" // nothing runs: the group has what was granted
		})
		return nil
	}
	// Limits of the pod as a whole (KEP-2837) would bind nothing without the cgroup.
	if len(podspec.PodResources(r.pod).Limits) > 0 {
		r.p.cfg.Events.Pod(r.pod, corev1.EventTypeWarning, "FailedCreatePodContainer", "cannot limit the pod as a whole, as spec.resources asks: "+err.Error())
		return err
	}
	// Containers have limits of their own: the pod runs without a common one.
	r.p.cfg.Logger.Warn("cannot limit a pod as a whole", "pod", podspec.Title(r.pod), "err", err)
	return nil
}

// reportTokenExpiry records an event when the pod's service account tokens begin
// to be expired, and when they are fresh again.
func (r *execution) reportTokenExpiry(expired time.Time) {
	var before bool
	r.owner.Update(func(m *Memory) { before, m.Expired = m.Expired, !expired.IsZero() })
	switch events := r.p.cfg.Events; {
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
	cfg, err := r.newSandboxConfig(ctx, a.Attempt)
	if err == nil {
		err = r.prepareClaims(ctx)
	}
	if err == nil {
		if cfg.Resources != nil && r.p.cfg.Placement.OwnsCPUs(r.pod) {
			cfg.Resources.CPUQuota, cfg.Resources.CPUPeriod = 0, 0
		}
		var id string
		if id, err = r.p.cfg.Runtime.RunSandbox(ctx, cfg); err != nil {
			err = withHandler(err, r.pod, cfg.Handler)
		} else {
			var sb runtime.Sandbox
			if sb, err = r.p.cfg.Runtime.SandboxStatus(ctx, id); err == nil {
				if a.Attempt == 0 {
					r.p.complainDNS(r.pod) // once: the runtime remembers that the pod had a sandbox
				}
				r.p.cfg.Metrics.SandboxMade(nil)
				r.useSandbox(sb)
				r.clearBackOff(plan.RetrySandbox)
				r.noteRefusal(nil)
				r.p.checkCgroupDriver(r.pod)
				return nil
			}
		}
	}
	if ctx.Err() == nil {
		r.p.cfg.Metrics.SandboxMade(err)
		r.noteRefusal(err)
		reason, message := podspec.SandboxFailure(err)
		r.p.cfg.Events.Pod(r.pod, corev1.EventTypeWarning, reason, message)
		r.p.recordNetwork(ctx, r.pod)
	}
	return err
}

// tearDown removes the pod's volumes and cgroups. The class of the pod may have
// changed since its cgroup was made, so all are looked for.
func (r *execution) tearDown(ctx context.Context) error {
	if err := r.p.cfg.Volumes.TearDownPod(ctx, string(r.pod.UID)); err != nil {
		return err
	}
	if r.p.cfg.Groups.LimitPods() {
		for _, class := range []corev1.PodQOSClass{corev1.PodQOSGuaranteed, corev1.PodQOSBurstable, corev1.PodQOSBestEffort} {
			err := r.p.cfg.Groups.Load().TearDown(class, string(r.pod.UID))
			if errors.Is(err, cgroup.ErrBusy) {
				return err // its processes were killed: one of the next tries finds it empty
			}
			if err != nil {
				r.p.cfg.Logger.Debug("cannot remove a pod's cgroup", "pod", podspec.Title(r.pod), "err", err)
			}
		}
	}
	r.owner.Update(func(m *Memory) { m.TornDown, m.SetUp = true, false })
	return nil
}

// podLimits are the limits of a pod's cgroup. The CPU time of a pod with a container
// that has CPUs of its own is not limited.
func (p *Performer) podLimits(pod *corev1.Pod) cgroup.Limits {
	l := p.cfg.Specs.PodLimits(pod, p.Facts())
	if p.cfg.Placement.OwnsCPUs(pod) {
		l.CPUQuota = -1
	}
	return l
}
