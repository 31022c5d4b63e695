package edged

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/oomwatch"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podsources"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/static"
)

// hasBooted reports whether the machine has booted since the node was last reported. It
// must be asked before the node is reported again. A machine or a Reports that cannot say
// has not.
func (a *Agent) hasBooted(ctx context.Context) bool {
	reports, ok := a.cfg.Reports.(LastReports)
	if !ok {
		return false
	}
	last, err := reports.LastNode(ctx)
	if err != nil {
		return false // never reported, or not to be read: the first look at the runtime says all
	}
	was, is := last.Status.NodeInfo.BootID, a.node.BootID()
	return was != "" && is != "" && was != is
}

// reportBoot reports, after a boot, that no container of the pods is ready any more. It does
// not ask the runtime, which may be long in coming up after a power cut: until then the API
// of the node, and the cluster's, would show the pods as they were before. It is false when
// ctx ended first.
func (a *Agent) reportBoot(ctx context.Context, in *podsources.Sources) bool {
	if !in.WaitForFirst(ctx) {
		return false
	}
	reports, ok := a.cfg.Reports.(LastReports)
	if !ok {
		return true
	}
	for _, p := range in.All() {
		uid := p.UID
		if static.Is(p) {
			m := in.Mirror(p)
			if m == nil {
				continue // the API server does not show it
			}
			uid = m.UID
		}
		last, err := reports.LastPodStatus(ctx, p)
		if err != nil {
			continue // its worker says more of that
		}
		st, changed := plan.AfterBoot(newerStatus(last, &p.Status), time.Now())
		if !changed {
			continue
		}
		if err := a.sendStatus(ctx, p, uid, st); err != nil && ctx.Err() == nil {
			a.log.Warn("cannot report that a pod is not ready after the boot", "pod", podspec.Title(p), "err", err)
		}
	}
	return true
}

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
