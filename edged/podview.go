package edged

import (
	"bytes"
	"context"
	"io"
	"maps"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/crilog"
	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/regular"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/shutdown"
)

// The bounds of termination messages, by the API:
// https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
const (
	maxMessage     = 4096
	maxLogMessage  = 2048
	maxLogMessages = 80 // lines
)

// observe refreshes the worker's view of the runtime, if something may have
// changed there.
func (w *worker) observe(ctx context.Context) error {
	w.mu.Lock()
	dirty, uid := w.dirty, string(w.pod.UID)
	w.dirty = false
	w.mu.Unlock()
	if !dirty {
		return nil
	}
	v, err := w.readRuntime(ctx, uid)
	if err != nil {
		w.mu.Lock()
		w.dirty = true
		w.mu.Unlock()
		return err
	}
	w.view = v
	if n := len(v.Sandboxes); n > 0 && w.last == nil {
		if first := v.Sandboxes[n-1].Created; first.Before(w.start) && !first.IsZero() {
			w.start = first // no start was ever reported; the runtime remembers it
		}
	}
	return nil
}

// readRuntime lists the pod's sandboxes and containers. The status of a container
// that has exited does not change any more, and is asked for once.
func (w *worker) readRuntime(ctx context.Context, uid string) (plan.View, error) {
	r := w.a.cfg.Runtime
	sandboxes, err := r.ListSandboxes(ctx, uid)
	if err != nil {
		return plan.View{}, err
	}
	listed, err := r.ListContainers(ctx, uid)
	if err != nil {
		return plan.View{}, err
	}
	exited := make(map[string]runtime.Container)
	var containers []runtime.Container
	for _, c := range listed {
		if old, ok := w.exited[c.ID]; ok {
			exited[c.ID] = old
			containers = append(containers, old)
			continue
		}
		full, err := r.ContainerStatus(ctx, c.ID)
		if notfound.Is(err) {
			continue // removed since it was listed
		}
		if err != nil {
			return plan.View{}, err
		}
		full.SandboxID, full.PodUID = c.SandboxID, c.PodUID
		if full.State == runtime.ContainerExited {
			exited[c.ID] = full
			if m := w.terminationMessage(&full); m != "" {
				w.messages[c.ID] = m
			}
		}
		containers = append(containers, full)
	}
	w.exited = exited
	for id := range w.messages {
		if _, ok := exited[id]; !ok {
			delete(w.messages, id)
		}
	}
	v := plan.NewView(sandboxes, containers)
	if sb := v.Sandbox(); sb != nil && sb.Ready {
		if old := w.view.SandboxByID(sb.ID); old != nil && len(old.IPs) > 0 {
			sb.IPs, sb.HostNetwork = old.IPs, old.HostNetwork
		} else if full, err := r.SandboxStatus(ctx, sb.ID); err == nil {
			*sb = full
			sb.PodUID = uid
		} else if !notfound.Is(err) {
			return plan.View{}, err
		}
	}
	return v, nil
}

// terminationMessage reads what a container that exited left: its termination
// message, or the end of its log if the spec asks for that
// (terminationMessagePolicy FallbackToLogsOnError). The path is a note on the
// container and counts only inside the folder of its pod.
func (w *worker) terminationMessage(c *runtime.Container) string {
	file := c.Annotations[runtime.AnnotationTerminationMessage]
	if dir := w.a.volumes.PodDir(c.PodUID); file != "" && filepath.Dir(filepath.Dir(filepath.Dir(file))) == dir {
		if text, err := readHead(file, maxMessage); err == nil && text != "" {
			return text
		}
	}
	policy := corev1.TerminationMessagePolicy(c.Annotations[runtime.AnnotationTerminationPolicy])
	if policy != corev1.TerminationMessageFallbackToLogsOnError || c.ExitCode == 0 && c.Reason != "OOMKilled" {
		return ""
	}
	pod := w.spec()
	log := podlogs.File(w.a.cfg.LogRoot, pod, c.Name, c.Attempt)
	text, err := crilog.Tail(log, maxLogMessages, maxLogMessage)
	if err != nil {
		return ""
	}
	return text
}

// readHead reads the beginning of a file that a container wrote. It may be
// anything by now, a pipe or a link: only a plain file counts.
func readHead(file string, limit int64) (string, error) {
	f, err := regular.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return string(bytes.ToValidUTF8(b, []byte("\uFFFD"))), err
}

// situation gathers what plan.Decide looks at.
func (w *worker) situation(end plan.Ending, grace time.Duration) plan.Situation {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	was := w.alive
	w.alive = w.view.Alive() || w.starting() || now.Before(w.settleUntil)
	if was && !w.alive && w.rejected != nil {
		w.a.noteFreed() // a critical pod may wait for the room
	}
	w.emptied = !w.alive && w.mem.TornDown && len(w.view.Containers) == 0
	maps.DeleteFunc(w.mem.Stopped, func(id string, _ bool) bool { return w.view.SandboxByID(id) == nil })
	// Tokens that are due make the volumes stale, as a changed config map does.
	s := plan.Situation{
		Pod: w.allocatedLocked(), Now: now, View: w.view, Ending: end, Grace: grace, Actuated: w.actuatedLocked(), ResizePod: w.mem.Resize.Group,
		Stopped: maps.Clone(w.mem.Stopped), SetUp: w.mem.SetUp, Stale: w.mem.Stale || !w.mem.Refresh.IsZero() && !now.Before(w.mem.Refresh), RefreshAt: w.mem.Refresh,
		TornDown: w.mem.TornDown, UsesClaims: w.a.usesClaims(w.pod.UID), LogsRemoved: w.mem.LogsRemoved, FinalReported: w.mem.finalReported, GoneReported: w.mem.GoneReported, Settled: w.settleUntil, GraceLimit: w.graceLimit,
		Evicted:         w.graceLimit != nil && (w.rejected == nil || w.rejected.Reason != shutdown.Reason) || w.last != nil && w.last.Phase == corev1.PodFailed && w.last.Reason == eviction.Reason,
		RestartAllUntil: w.mem.RestartAllUntil,
		Retry:           maps.Clone(w.mem.Retry), MaxBackOff: w.a.cfg.MaxContainerRestartPeriod, Health: make(map[string]plan.Health), LastStatuses: make(map[string]*corev1.ContainerStatus),
	}
	for _, c := range w.view.Containers {
		if c.State == runtime.ContainerRunning {
			h := w.probes.Health(c.ID)
			h.Restart = w.restartLocked(c)
			s.Health[c.ID] = h
		}
	}
	for _, list := range [][]corev1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for _, c := range list {
			s.LastStatuses[c.Name] = plan.FindStatus(w.last, c.Name)
		}
	}
	for _, c := range w.pod.Spec.EphemeralContainers {
		s.LastStatuses[c.Name] = plan.FindStatus(w.last, c.Name)
	}
	return s
}
