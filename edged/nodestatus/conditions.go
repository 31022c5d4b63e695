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

// checks is what one look at the machine and its runtime has shown.
type checks struct {
	version    runtime.Version
	health     runtime.Health
	runtime    error  // why the runtime did not answer
	unwritable error  // why reports cannot be stored
	noDisk     error  // why the disk did not answer
	notReady   string // another cause for which the node is not ready; "" for none
	// pressures are the conditions that are True since the node is short of something,
	// if that is known yet.
	pressures []corev1.NodeConditionType
	measured  bool
}

// conditions are the conditions of the node:
// https://kubernetes.io/docs/reference/node/node-status/#condition
func (n *Reporter) conditions(seen checks) []corev1.NodeCondition {
	now := time.Now()
	list := []corev1.NodeCondition{n.memoryPressure(seen), n.diskPressure(seen), n.pidPressure(seen), readiness(seen)}
	if n.cfg.Conditions != nil {
		list = append(list, n.cfg.Conditions()...)
	}
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

// pressed reports whether the node is short of something. What an earlier run reported
// counts until that was measured for the first time.
func (n *Reporter) pressed(seen checks, what corev1.NodeConditionType) bool {
	if seen.measured || n.last == nil {
		return slices.Contains(seen.pressures, what)
	}
	return slices.ContainsFunc(n.last.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == what && c.Status == corev1.ConditionTrue && c.Reason != reasonUnwritable
	})
}

// memoryPressure is True while there is too little memory.
func (n *Reporter) memoryPressure(seen checks) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse,
		Reason: "KubeletHasSufficientMemory", Message: "kubelet has sufficient memory available",
	}
	if n.pressed(seen, c.Type) {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletHasInsufficientMemory", "kubelet has insufficient memory available"
	}
	return c
}

// diskPressure is True while there is too little room, or too few inodes, on a file
// system of the node, and while the node cannot store anything. It is Unknown while the
// file system of the node's data does not answer, which may be full or not.
func (n *Reporter) diskPressure(seen checks) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse,
		Reason: "KubeletHasNoDiskPressure", Message: "kubelet has no disk pressure",
	}
	pressed := n.pressed(seen, c.Type)
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

// pidPressure is True while there are too few process ids left.
func (n *Reporter) pidPressure(seen checks) corev1.NodeCondition {
	c := corev1.NodeCondition{
		Type: corev1.NodePIDPressure, Status: corev1.ConditionFalse,
		Reason: "KubeletHasSufficientPID", Message: "kubelet has sufficient PID available",
	}
	if n.pressed(seen, c.Type) {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletHasInsufficientPID", "kubelet has insufficient PID available"
	}
	return c
}

// recordConditions records an event of the Node for each condition of pressure, and for the
// condition Ready, that differs from the last report, with the kubelet's reasons and text. A
// node that is reported for the first time has no event for what is as it should be.
func (n *Reporter) recordConditions(before, now *corev1.Node) {
	names := map[corev1.NodeConditionType][2]string{
		corev1.NodeMemoryPressure: {"NodeHasSufficientMemory", "NodeHasInsufficientMemory"},
		corev1.NodeDiskPressure:   {"NodeHasNoDiskPressure", "NodeHasDiskPressure"},
		corev1.NodePIDPressure:    {"NodeHasSufficientPID", "NodeHasInsufficientPID"},
		corev1.NodeReady:          {"NodeNotReady", "NodeReady"},
	}
	for _, c := range now.Status.Conditions {
		name, ok := names[c.Type]
		was := corev1.ConditionFalse
		if c.Type == corev1.NodeReady {
			was = corev1.ConditionTrue
		}
		if before != nil {
			for _, o := range before.Status.Conditions {
				if o.Type == c.Type {
					was = o.Status
				}
			}
		}
		if !ok || was == c.Status || c.Status == corev1.ConditionUnknown {
			continue
		}
		reason := name[0]
		if c.Status == corev1.ConditionTrue {
			reason = name[1]
		}
		n.cfg.Event(corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", n.cfg.NodeName, reason))
	}
}

// readiness is the condition Ready: the runtime answers, and says that it and its
// network are ready.
func readiness(seen checks) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady"}
	switch {
	// The kubelet's texts: people and alerts know them.
	case seen.notReady != "":
		c.Message = seen.notReady
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
