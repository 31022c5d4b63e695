package edged

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/oomwatch"
)

// recordStart records that the agent has started, and that the machine was booted before. Reasons
// and texts are the kubelet's: alerts know them.
func (a *Agent) recordStart(booted bool) {
	a.events.Node(corev1.EventTypeNormal, "Starting", "Starting kubelet.")
	if booted {
		a.events.Node(corev1.EventTypeWarning, "Rebooted", fmt.Sprintf("Node %s has been rebooted, boot id: %s", a.cfg.NodeName, a.node.BootID()))
	}
}

// watchMemory records an event each time that the kernel kills a process because the whole machine
// is out of memory, until ctx ends.
func (a *Agent) watchMemory(ctx context.Context) {
	if a.cfg.KernelLog == "" {
		return
	}
	_ = oomwatch.Run(ctx, oomwatch.Config{File: a.cfg.KernelLog, Logger: a.log, Killed: func(v oomwatch.Victim) { // it fails without Killed only
		a.events.Node(corev1.EventTypeWarning, "SystemOOM", fmt.Sprintf("System OOM encountered, victim process: %s, pid: %d", v.Name, v.PID))
	}})
}
