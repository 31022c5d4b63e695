package nodestatus

import (
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// How a node's own condition is judged. The thresholds are the kubelet's.
const (
	memoryFloor  = 100 << 20 // bytes available
	diskFloor    = 10        // percent of the file system free
	inodeFloor   = 5         // percent of its inodes free
	pressureHold = 5 * time.Minute
)

// checks is what one look at the machine and its runtime has shown.
type checks struct {
	version    runtime.Version
	health     runtime.Health
	runtime    error // why the runtime did not answer
	unwritable error // why reports cannot be stored
	memory     map[string]int64
	noMemory   error
	disk       diskSpaceInfo
	noDisk     error
}

// pressed reports whether something is short now, or was in the last five minutes:
// the kubelet's eviction-pressure-transition-period, which keeps a condition from
// flapping. what is "memory" or "disk".
func (n *Reporter) pressed(what string, low bool, now time.Time) bool {
	if low {
		n.pressureSince[what] = now
	}
	t, ok := n.pressureSince[what]
	return ok && now.Sub(t) < pressureHold
}

// conditions are the conditions of the node:
// https://kubernetes.io/docs/reference/node/node-status/#condition
func (n *Reporter) conditions(seen checks) []corev1.NodeCondition {
	now := time.Now()
	list := []corev1.NodeCondition{n.memoryPressure(seen, now), n.diskPressure(seen, now), pidPressure(), readiness(seen)}
	for i := range list {
		c := &list[i]
		c.LastHeartbeatTime, c.LastTransitionTime = metav1.NewTime(now), metav1.NewTime(now)
		// Without a last report the transition is now.
		if n.last == nil {
			continue
		}
		j := slices.IndexFunc(n.last.Status.Conditions, func(o corev1.NodeCondition) bool { return o.Type == c.Type })
		if j >= 0 && n.last.Status.Conditions[j].Status == c.Status {
			c.LastTransitionTime = n.last.Status.Conditions[j].LastTransitionTime
		}
	}
	return list
}

// memoryPressure compares the available memory with the kubelet's default eviction
// threshold, memory.available<100Mi.
func (n *Reporter) memoryPressure(seen checks, now time.Time) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse,
		Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available",
	}
	if n.pressed("memory", seen.noMemory == nil && seen.memory["MemAvailable"] < memoryFloor, now) {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"
	}
	return c
}

// diskPressure checks the file system of the node's data against the kubelet's
// thresholds, nodefs.available<10% and nodefs.inodesFree<5%. One that does not
// answer is Unknown: it may be full or not.
func (n *Reporter) diskPressure(seen checks, now time.Time) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse,
		Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure",
	}
	pressed := n.pressed("disk", seen.noDisk == nil && seen.disk.low(), now)
	silent, isSilent := errors.AsType[*diskSilentError](seen.noDisk)
	switch {
	// This passes as soon as the node can store again; a full disk is held for a while.
	case seen.unwritable != nil:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, reasonUnwritable, unwritableMessage(seen.unwritable)
	case isSilent:
		c.Status, c.Reason, c.Message = corev1.ConditionUnknown, reasonDiskSilent, silent.Error()
	case pressed:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletHasDiskPressure", "kubelet has disk pressure"
	}
	return c
}

// pidPressure is never True: this agent does not count processes.
func pidPressure() corev1.NodeCondition {
	return corev1.NodeCondition{
		Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse,
		Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available",
	}
}

// readiness is the condition Ready: the runtime answers, and says that it and its
// network are ready.
func readiness(seen checks) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady"}
	switch {
	// The kubelet's texts: people and alerts know them.
	case seen.runtime != nil:
		c.Message = fmt.Sprintf("container runtime is down: %v", seen.runtime)
	case !seen.health.RuntimeReady:
		c.Message = "container runtime not ready: " + seen.health.RuntimeMessage
	case !seen.health.NetworkReady:
		c.Message = "container runtime network not ready: " + seen.health.NetworkMessage
	default:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status"
	}
	return c
}

// reasonDiskSilent is the reason of a DiskPressure that is not known.
const reasonDiskSilent = "DiskDoesNotAnswer"

// reasonUnwritable is the reason of a DiskPressure that passes when the node can
// store again; the other kind is held for a while.
const reasonUnwritable = "StoreUnwritable"

// unwritableMessage does not say how much room is left on the disk: that changes
// all the time, and each change would be a report.
func unwritableMessage(err error) string {
	why := err.Error()
	switch {
	case errors.Is(err, syscall.ENOSPC):
		why = "its disk is full: make room on it"
	case errors.Is(err, syscall.EROFS):
		why = "its disk is read-only: mount it writable"
	}
	return "the node cannot store anything, pods run on as they are and nothing new is taken from the cloud: " + why
}
