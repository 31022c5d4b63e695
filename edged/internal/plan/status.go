package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Waiting is why a container does not run.
type Waiting struct{ Reason, Message string }

// Readiness is what the probes of a running container say now.
type Readiness struct{ Started, Ready bool }

// Facts is all that a pod's status is computed from.
type Facts struct {
	Pod       *corev1.Pod // also has the status that the cloud knows
	Last      *corev1.PodStatus
	Now       time.Time
	Start     time.Time
	View      View
	Readiness map[string]Readiness // by container id; what has none runs and has no probes
	Messages  map[string]string    // termination messages by container id
	Waiting   map[string]Waiting   // by container name
	BackOffs  map[string]BackOff   // by container name
	Runtime   string               // the runtime's name, for container ids
	HostIPs   []string
	Final     bool // nothing of the pod runs or will
	Alive     bool // processes of the pod run, or may, or its resource claims are prepared
	Expired   bool // a service account token is past its end
	Held      bool // nothing of the pod may start yet
	Rejected  *Rejection
	Refused   *podspec.UnsupportedError // why the last try to make a sandbox failed; nil if it did not

	Allocated  *corev1.Pod // with the resources that it was granted; nil means Pod
	Actuated   Actuated    // what was set of its resources
	Pending    *ResizeCondition
	InProgress *ResizeCondition
}

// ResizeCondition is the content of a condition about a change of resources.
type ResizeCondition struct {
	Reason, Message string
	Generation      int64 // of the spec that it is about
}

// allocated is the pod with the resources that it was granted.
func (f Facts) allocated() *corev1.Pod {
	if f.Allocated != nil {
		return f.Allocated
	}
	return f.Pod
}

// Rejection is why a pod is made to fail: by admission, by its deadline, or by an
// eviction.
type Rejection struct {
	Reason, Message string
	Disrupts        bool   // the node ends the pod for its own sake: see disruption
	Disruption      string // the message of that condition; "" means Message
}

// PodStatus computes the status of a pod. It is pure.
//
// A terminal phase is never left again, whoever set it. And it is reported only
// when no process of the pod is alive: see phaseWhileAlive.
func PodStatus(f Facts) corev1.PodStatus {
	pod := f.Pod
	st := corev1.PodStatus{
		ObservedGeneration:    pod.Generation,
		QOSClass:              podspec.QOSClass(pod),
		StartTime:             &metav1.Time{Time: f.Start},
		NominatedNodeName:     pod.Status.NominatedNodeName,
		ResourceClaimStatuses: pod.Status.ResourceClaimStatuses, ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	for _, ip := range f.HostIPs {
		st.HostIPs = append(st.HostIPs, corev1.HostIP{IP: ip})
	}
	if len(f.HostIPs) > 0 {
		st.HostIP = f.HostIPs[0]
	}
	st.PodIPs = podIPs(f)
	if len(st.PodIPs) > 0 {
		st.PodIP = st.PodIPs[0].IP
	}
	for i := range pod.Spec.InitContainers {
		st.InitContainerStatuses = append(st.InitContainerStatuses, containerStatus(f, &pod.Spec.InitContainers[i], true))
	}
	for i := range pod.Spec.Containers {
		st.ContainerStatuses = append(st.ContainerStatuses, containerStatus(f, &pod.Spec.Containers[i], false))
	}
	for i := range pod.Spec.EphemeralContainers {
		st.EphemeralContainerStatuses = append(st.EphemeralContainerStatuses, ephemeralStatus(f, podspec.EphemeralContainer(pod, i)))
	}
	slices.SortFunc(st.ContainerStatuses, func(a, b corev1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
	st.Phase = phase(pod, &st, f.Final)
	switch {
	case f.Last != nil && IsTerminal(f.Last.Phase):
		st.Phase, st.Reason, st.Message = f.Last.Phase, f.Last.Reason, f.Last.Message // what is over stays over
	case IsTerminal(pod.Status.Phase):
		st.Phase, st.Reason, st.Message = pod.Status.Phase, pod.Status.Reason, pod.Status.Message // as others say
	case f.Rejected != nil:
		st.Phase, st.Reason, st.Message = corev1.PodFailed, f.Rejected.Reason, f.Rejected.Message
	}
	st.AllocatedResources, st.Resources = podAllocated(f)
	st.Conditions = conditions(f, &st)
	if IsTerminal(st.Phase) && f.Alive {
		st.Phase, st.Reason, st.Message = phaseWhileAlive(f, &st)
	}
	return st
}

// phaseWhileAlive is the phase of a pod that has ended, while processes of it are
// still being stopped: that of before. A terminal phase makes others start the
// pod's successor and give away its ports, volumes and devices.
func phaseWhileAlive(f Facts, st *corev1.PodStatus) (p corev1.PodPhase, reason, message string) {
	for _, before := range []*corev1.PodStatus{f.Last, &f.Pod.Status} {
		if before == nil || before.Phase == "" {
			continue
		}
		return before.Phase, before.Reason, before.Message
	}
	if hasStarted(st) {
		return corev1.PodRunning, "", ""
	}
	return corev1.PodPending, "", ""
}

// hasStarted reports whether a regular container of the pod has ever run.
func hasStarted(st *corev1.PodStatus) bool {
	return slices.ContainsFunc(st.ContainerStatuses, func(c corev1.ContainerStatus) bool {
		return c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil
	})
}

// IsTerminal reports whether a phase is one that a pod never leaves.
func IsTerminal(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

// podIPs are the addresses of the pod: those of its sandbox or, in the host's
// network, of the node. A pod whose sandbox is gone keeps those that were reported
// last, as the API asks of a terminated pod.
func podIPs(f Facts) []corev1.PodIP {
	var ips []string
	switch sb := f.View.Sandbox(); {
	case f.Pod.Spec.HostNetwork && sb != nil:
		ips = f.HostIPs
	case sb != nil:
		ips = SortIPs(sb.IPs, f.HostIPs)
	}
	if len(ips) == 0 && f.Last != nil {
		return f.Last.PodIPs
	}
	var out []corev1.PodIP
	for _, ip := range ips {
		out = append(out, corev1.PodIP{IP: ip})
	}
	return out
}

// FindStatus finds the status of a container of any kind; nil if there is none.
func FindStatus(st *corev1.PodStatus, name string) *corev1.ContainerStatus {
	if st == nil {
		return nil
	}
	for _, list := range [][]corev1.ContainerStatus{st.ContainerStatuses, st.InitContainerStatuses, st.EphemeralContainerStatuses} {
		if i := slices.IndexFunc(list, func(c corev1.ContainerStatus) bool { return c.Name == name }); i >= 0 {
			return &list[i]
		}
	}
	return nil
}

// containerStatus computes the status of one container from the newest container
// of that name in the runtime, or from the last report where the runtime has none.
func containerStatus(f Facts, c *corev1.Container, init bool) corev1.ContainerStatus {
	last := FindStatus(f.Last, c.Name)
	cur := f.View.Latest(c.Name)
	// The containers of a pod that is over may be removed before its API object is.
	if cur == nil && last != nil && last.State.Terminated != nil && IsTerminal(f.Last.Phase) {
		return *last.DeepCopy()
	}
	st := corev1.ContainerStatus{Name: c.Name, Image: c.Image, RestartCount: restartCount(cur, last)}
	wait := &corev1.ContainerStateWaiting{Reason: ReasonContainerCreating}
	if len(f.Pod.Spec.InitContainers) > 0 {
		wait.Reason = ReasonPodInitializing
	}
	if w, ok := f.Waiting[c.Name]; ok {
		wait.Reason, wait.Message = w.Reason, w.Message
	}
	if f.Held {
		wait.Reason, wait.Message = string(ConditionHeldUpgrade), messageHeld
	}
	if r := cmp.Or(podspec.UnsupportedPod(f.Pod), f.Refused); r != nil && cur == nil {
		wait.Reason, wait.Message = r.Reason, r.Message
	}
	if cur == nil {
		st.State.Waiting = wait
		lost(f, &st, last)
		setDetails(f, &st, c, nil)
		return st
	}
	st.ContainerID = f.Runtime + "://" + cur.ID
	st.ImageID = cur.ImageID
	if cur.Image != "" {
		st.Image = cur.Image
	}
	if prev := f.View.before(cur); prev != nil {
		st.LastTerminationState.Terminated = terminated(f, prev)
	} else if last != nil && last.LastTerminationState.Terminated != nil && (last.RestartCount == st.RestartCount || last.ContainerID == "") {
		// It is the one before this container, also if that was gone when it was reported.
		st.LastTerminationState = last.LastTerminationState
	}
	_, waits := f.Waiting[c.Name]
	switch cur.State {
	case runtime.ContainerRunning:
		st.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(cur.Started)}
		if v, ok := f.Readiness[cur.ID]; ok {
			st.Ready = v.Ready && (!init || podspec.IsSidecar(c))
			st.Started = &v.Started
		}
	case runtime.ContainerExited, runtime.ContainerUnknown:
		end := terminated(f, cur)
		if b, ok := f.BackOffs[c.Name]; ok && !f.Final {
			wait.Reason = ReasonCrashLoopBackOff
			wait.Message = fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", b.delay, c.Name, podspec.Title(f.Pod))
			waits = true
		}
		if waits && !f.Final {
			st.State.Waiting, st.LastTerminationState.Terminated = wait, end
			break
		}
		st.State.Terminated = end
		st.Ready = init && !podspec.IsSidecar(c) && end.ExitCode == 0
	default:
		st.State.Waiting = wait
	}
	if st.Started == nil {
		st.Started = new(bool)
	}
	setDetails(f, &st, c, cur)
	return st
}

// lost completes the status of a container that the runtime does not have. If it
// ran when it was last reported, its exit was not seen: it is reported as killed,
// with the kubelet's reason ContainerStatusUnknown.
func lost(f Facts, st *corev1.ContainerStatus, last *corev1.ContainerStatus) {
	st.Started = new(bool)
	if last == nil {
		return
	}
	gone := &corev1.ContainerStateTerminated{
		Reason: "ContainerStatusUnknown", ExitCode: 137,
		Message: "The container could not be located when the pod was terminated",
	}
	switch {
	case last.State.Terminated != nil:
		gone = last.State.Terminated
	case !f.Final && last.State.Running != nil && wasRestartingAll(f, last):
		gone.Reason, gone.Message = reasonRestartingAll, messageRestartingAll
	case last.State.Running == nil:
		st.LastTerminationState = last.LastTerminationState
		showRestartingAll(f, st, last)
		return
	}
	if f.Final {
		st.State = corev1.ContainerState{Terminated: gone}
		st.LastTerminationState, st.ContainerID, st.ImageID = last.LastTerminationState, last.ContainerID, last.ImageID
		return
	}
	st.LastTerminationState.Terminated = gone
	showRestartingAll(f, st, last)
}

// terminated is the state of a container that has ended.
func terminated(f Facts, c *runtime.Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Reason: c.Reason, Message: c.Message,
		FinishedAt: metav1.NewTime(c.Finished), ContainerID: f.Runtime + "://" + c.ID,
	}
	if !c.Started.IsZero() {
		t.StartedAt = metav1.NewTime(c.Started)
	}
	if m := f.Messages[c.ID]; m != "" {
		t.Message = m
	} else if t.Message == "" {
		t.Message = lastMessage(f.Last, c.Name, t.ContainerID)
	}
	if c.State == runtime.ContainerUnknown {
		t.Reason, t.ExitCode = "ContainerStatusUnknown", 137
	}
	if t.Reason == "" {
		t.Reason = "Error"
		if c.ExitCode == 0 {
			t.Reason = "Completed"
		}
	}
	return t
}

// lastMessage is the message with which a container was last reported to have
// ended. The file that it was read from is gone once the pod's volumes are.
func lastMessage(last *corev1.PodStatus, name, id string) string {
	if st := FindStatus(last, name); st != nil {
		for _, t := range []*corev1.ContainerStateTerminated{st.State.Terminated, st.LastTerminationState.Terminated} {
			if t != nil && t.ContainerID == id {
				return t.Message
			}
		}
	}
	return ""
}

// setDetails fills in what the spec and the runtime say of a container besides its
// state: its stop signal, mounts (KEP-3857 for recursive read-only), user
// (KEP-3619) and resources.
func setDetails(f Facts, st *corev1.ContainerStatus, c *corev1.Container, cur *runtime.Container) {
	if cur == nil || cur.State != runtime.ContainerRunning && cur.State != runtime.ContainerExited {
		return
	}
	if c.Lifecycle != nil {
		st.StopSignal = c.Lifecycle.StopSignal
	}
	for _, m := range c.VolumeMounts {
		v := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if slices.Contains(cur.RecursiveReadOnly, m.MountPath) {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			v.RecursiveReadOnly = &mode
		}
		st.VolumeMounts = append(st.VolumeMounts, v)
	}
	if cur.User != nil {
		st.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: cur.User.UID, GID: cur.User.GID, SupplementalGroups: cur.User.SupplementalGroups}}
	}
	if cur.State == runtime.ContainerRunning {
		if granted, _ := podspec.FindContainer(f.allocated(), c.Name); granted != nil {
			c = granted
		}
		set := f.Actuated.container(c, cur)
		has := actualResources(set, cur.Resources)
		st.AllocatedResources, st.Resources = c.Resources.Requests, &has
	}
}

// ephemeralStatus computes the status of an ephemeral container. It is never
// ready: nothing may depend on it.
func ephemeralStatus(f Facts, c *corev1.Container) corev1.ContainerStatus {
	st := containerStatus(f, c, false)
	st.Ready, st.Started = false, nil
	return st
}

// SortIPs puts those addresses of a pod first that are of the family of the node's
// own primary address, as a kubelet does. What uses only the first address of a
// pod counts on that (KEP-563, dual stack).
func SortIPs(ips, hosts []string) []string {
	if len(hosts) == 0 || len(ips) < 2 {
		return ips
	}
	host, err := netip.ParseAddr(hosts[0])
	if err != nil {
		return ips
	}
	other := func(text string) int {
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is4() == host.Is4() {
			return 0
		}
		return 1
	}
	out := slices.Clone(ips)
	slices.SortStableFunc(out, func(a, b string) int { return other(a) - other(b) })
	return out
}
