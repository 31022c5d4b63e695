package edged

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/admission"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/topology"
)

// deviceFlush is how often devices are taken back from pods that have ended, and what
// could not be stored is tried again.
const deviceFlush = 10 * time.Second

// rejectedUnexpected is the kubelet's reason for a pod whose devices cannot be allocated.
const rejectedUnexpected = "UnexpectedAdmissionError"

// loadDevices reads which devices containers have.
func (a *Agent) loadDevices(ctx context.Context) error {
	if a.cfg.Devices == nil {
		return nil
	}
	if err := a.cfg.Devices.Load(ctx); err != nil {
		return fmt.Errorf("edged: %w", err)
	}
	return nil
}

// deviceProvider has devices take part in the alignment of a pod's resources.
func (a *Agent) deviceProvider(machine *topology.Machine) []topology.Provider {
	if a.cfg.Devices == nil {
		return nil
	}
	var nodes topology.Mask
	for n := range machine.Nodes {
		nodes |= topology.MaskOf(n)
	}
	a.cfg.Devices.SetNUMANodes(uint64(nodes))
	return []topology.Provider{a.cfg.Devices.Provider()}
}

// allocatableFor is what pods can have of the node, the devices of a pod that has some
// included: their plugin may be gone.
func (a *Agent) allocatableFor(pod *corev1.Pod) corev1.ResourceList {
	out := a.node.Allocatable()
	if a.cfg.Devices != nil && out != nil {
		a.cfg.Devices.RaiseFor(pod, out)
	}
	return out
}

// reserveDevices chooses devices for a pod, or says why there are none. A pod that runs
// already is not refused.
func (a *Agent) reserveDevices(pod *corev1.Pod, runs bool) *plan.Rejection {
	if a.cfg.Devices == nil {
		return nil
	}
	err := a.cfg.Devices.Reserve(pod)
	switch {
	case err == nil:
		return nil
	case runs:
		a.log.Warn("a pod that runs already has no devices of its own", "pod", podspec.Title(pod), "err", err)
		a.events.Pod(pod, corev1.EventTypeWarning, rejectedUnexpected, "the pod runs on without devices of its own: "+err.Error())
		return nil
	}
	return deviceRejection(err)
}

// awaitDevicesLocked reports whether a pod must wait for a device plugin that has not
// registered since the agent started. Without the wait the agent would reject a pod that it
// admitted before, but that has not started because it is held. keepDevices looks at the
// pod again. It needs a.mu.
func (a *Agent) awaitDevicesLocked(pod *corev1.Pod) bool {
	if a.cfg.Devices == nil || pod.DeletionTimestamp != nil || plan.IsTerminal(pod.Status.Phase) || a.shuttingDown() || !a.cfg.Devices.Awaits(pod) {
		return false
	}
	a.awaitsDevices = true
	return true
}

// deviceRejection is the rejection of a pod that cannot have its devices.
func deviceRejection(err error) *plan.Rejection {
	return &plan.Rejection{Reason: rejectedUnexpected, Message: admission.MessagePrefix + fmt.Sprintf("Allocate failed due to %v, which is unexpected", err)}
}

// freeDevicesLocked takes devices back from pods that have ended or are no longer the
// node's. A pod that is listed and has no worker yet keeps what it has. It needs a.mu.
func (a *Agent) freeDevicesLocked() {
	if a.cfg.Devices == nil || a.listed == nil { // nil: which pods are the node's is not known yet
		return
	}
	a.cfg.Devices.Release(a.keepsLocked())
}

// reject rejects a pod that was admitted before, and of which nothing runs yet.
func (w *worker) reject(why *plan.Rejection) {
	w.mu.Lock()
	first := w.rejected == nil
	if first {
		w.rejected = why
	}
	w.mu.Unlock()
	if first {
		w.a.events.Pod(w.spec(), corev1.EventTypeWarning, why.Reason, strings.TrimPrefix(why.Message, admission.MessagePrefix))
	}
}

// keepDevices follows the plugins until ctx ends: the node and the pods report what
// changed, and containers that wait for devices are tried again.
func (a *Agent) keepDevices(ctx context.Context) {
	manager := a.cfg.Devices
	if manager == nil {
		return
	}
	tick := time.NewTicker(deviceFlush)
	defer tick.Stop()
	for failing := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-manager.Changed():
			a.node.CheckNow()
			a.eachWorker(func(w *worker) { w.devicesChanged() })
		case <-tick.C:
		}
		a.mu.Lock()
		a.freeDevicesLocked()
		awaited := a.awaitsDevices
		a.mu.Unlock()
		if awaited {
			a.noteFreed()
		}
		err := manager.Flush(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			a.log.Warn("cannot store which devices are in use; trying until it can be", "err", err)
		}
		failing = err != nil
	}
}

// devicesChanged has a pod with devices report their health, and a container that waits
// for them tried again.
func (w *worker) devicesChanged() {
	if !devices.WantsAny(w.spec()) {
		return
	}
	w.mu.Lock()
	for name, why := range w.mem.Waiting {
		if why.Reason == plan.ReasonCreateContainerConfigError {
			delete(w.mem.Retry, name)
		}
	}
	w.mu.Unlock()
	w.wakeUp()
}

// ResourceClaims has the node's drivers prepare the resource claims of pods (Dynamic
// Resource Allocation). In edgekit it is edged/dra. It remembers over restarts which pods use
// claims. All methods may be called by several goroutines, and again after an error.
type ResourceClaims interface {
	// Load reads what was prepared before. An Agent calls it first, until it works.
	Load(ctx context.Context) error
	// Prepare prepares all claims of a pod. The Agent calls it before each sandbox of the
	// pod. Its error is for the people who look at the pod.
	Prepare(ctx context.Context, pod *corev1.Pod) error
	// CDIDevices lists the CDI devices that a container gets for the claims that it names.
	CDIDevices(pod *corev1.Pod, c *corev1.Container) ([]string, error)
	// Uses reports whether claims of the pod are prepared, or may be.
	Uses(podUID string) bool
	// Unprepare gives the claims of a pod back, of which no process is left.
	Unprepare(ctx context.Context, podUID string) error
	// ResourceStatuses lists the health of the devices that a container gets. A claim that is
	// left out has the health that was last reported.
	ResourceStatuses(pod *corev1.Pod, c *corev1.Container) []corev1.ResourceStatus
	// Pods lists the uids of all pods for which Uses is true.
	Pods() []string
}

// loadClaims reads which claims are prepared, until that works. It is false when ctx ended
// first.
func (a *Agent) loadClaims(ctx context.Context) bool {
	if a.cfg.ResourceClaims == nil {
		return true
	}
	for {
		err := a.cfg.ResourceClaims.Load(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() == nil {
			a.log.Warn("cannot read which resource claims are prepared", "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(runtimeRetry):
		}
	}
}

// usesClaims reports whether a pod's resource claims are to be given back at its end.
func (a *Agent) usesClaims(uid types.UID) bool {
	return a.cfg.ResourceClaims != nil && a.cfg.ResourceClaims.Uses(string(uid))
}

// ResourceDriversChanged has the pods that wait for their resource claims try again at once:
// a driver has come.
func (a *Agent) ResourceDriversChanged() {
	a.eachWorker(func(w *worker) {
		if podspec.HasClaims(w.spec()) {
			w.contentChanged()
		}
	})
}

// ResourceHealthChanged has the statuses of these pods reported again: the health of their
// devices changed.
func (a *Agent) ResourceHealthChanged(podUIDs []string) {
	a.eachWorker(func(w *worker) {
		if slices.Contains(podUIDs, string(w.spec().UID)) {
			w.wakeUp()
		}
	})
}
