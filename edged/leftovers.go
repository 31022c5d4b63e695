package edged

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// findOrphans looks for what is on the node for pods that are not in the list: in
// the runtime, and on the disk what a crash can leave there. It does what a kubelet
// does in HandlePodCleanups and in its container GC.
//
// Containers are listed before sandboxes, so that the sandbox of each is listed too
// if it is there.
func (a *Agent) findOrphans(ctx context.Context) {
	containers, err := a.cfg.Runtime.ListContainers(ctx, "")
	var sandboxes []runtime.Sandbox
	if err == nil {
		sandboxes, err = a.cfg.Runtime.ListSandboxes(ctx, "")
	}
	if err != nil {
		if ctx.Err() == nil {
			a.log.Debug("cannot look for sandboxes of pods that are gone", "err", err)
		}
		return
	}
	folders, traces := a.podFolders(), a.podTraces()
	dangling, err := podlogs.DanglingLinks(a.cfg.ContainerLogs.Links, a.cfg.LogRoot)
	if err != nil {
		a.log.Warn("cannot look for links to logs that are gone", "err", err)
	}
	a.mu.Lock()
	a.setOrphansLocked(sandboxes, folders)
	a.addContainersLocked(sandboxes, containers)
	for _, uid := range a.lastingLocked(sandboxes, containers, traces, dangling, time.Now()) {
		a.orphans[uid] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid}}
	}
	var remove []string
	for _, link := range dangling {
		if since, ok := a.unowned[link]; ok && time.Since(since) >= orphanInterval {
			remove = append(remove, link)
		}
	}
	a.mu.Unlock()
	for _, link := range remove {
		if err := os.Remove(link); err != nil {
			a.log.Debug("cannot remove a link to a log that is gone", "link", link, "err", err)
		}
	}
	a.mendLogs(ctx, containers)
}

// endOrphans looks for orphans now, and has those ended that are known for certain.
// Before the first list of pods came nothing is.
func (a *Agent) endOrphans(ctx context.Context) error {
	select {
	case <-a.ready:
		a.findOrphans(ctx)
		a.removeKnownOrphans(ctx)
	default:
	}
	return nil
}

// addContainersLocked notes the pods of containers that have no sandbox any more: no
// sandbox shows them. It needs a.mu.
func (a *Agent) addContainersLocked(sandboxes []runtime.Sandbox, containers []runtime.Container) {
	have := make(map[string]bool, len(sandboxes))
	for _, s := range sandboxes {
		have[s.ID] = true
	}
	for _, c := range containers {
		uid := types.UID(c.PodUID)
		if node := c.Annotations[runtime.AnnotationNode]; have[c.SandboxID] || node != "" && node != a.cfg.NodeName {
			continue
		}
		if !a.listed[uid] && a.workers[uid] == nil && a.orphans[uid] == nil {
			a.orphans[uid] = orphanPod(runtime.Sandbox{
				Namespace: c.Labels[runtime.LabelPodNamespace], Name: c.Labels[runtime.LabelPodName], PodUID: c.PodUID, Annotations: c.Annotations,
			})
		}
	}
}

// podTraces lists the pods that have a folder of logs, or a cgroup without
// processes.
func (a *Agent) podTraces() []types.UID {
	var out []types.UID
	logs, err := podlogs.Pods(a.cfg.LogRoot)
	if err != nil {
		a.log.Warn("cannot look for logs of pods that are gone", "err", err)
	}
	for _, uid := range logs {
		out = append(out, types.UID(uid))
	}
	for _, uid := range a.groups.EmptyPods() {
		out = append(out, types.UID(uid))
	}
	return out
}

// lastingLocked lists the traces of pods of which nothing else is on the node, and
// which nobody has owned for a while. Another agent that shares the machine has a
// sandbox soon after it made a cgroup or a folder; and uids alone are looked at
// which have the form of an API server's or of a static pod's, since people keep
// folders too. It also remembers since when links dangle. It needs a.mu.
func (a *Agent) lastingLocked(sandboxes []runtime.Sandbox, containers []runtime.Container, traces []types.UID, dangling []string, now time.Time) []types.UID {
	present := make(map[types.UID]bool)
	for _, s := range sandboxes {
		present[types.UID(s.PodUID)] = true
	}
	for _, c := range containers {
		present[types.UID(c.PodUID)] = true
	}
	unowned := make(map[string]time.Time)
	since := func(name string) time.Time {
		at, ok := a.unowned[name]
		if !ok || at.After(now) {
			at = now
		}
		unowned[name] = at
		return at
	}
	var out []types.UID
	for _, uid := range traces {
		if present[uid] || a.listed[uid] || a.workers[uid] != nil || !isPodUID(string(uid)) {
			continue
		}
		if now.Sub(since(string(uid))) >= orphanInterval && a.orphans[uid] == nil {
			out = append(out, uid)
		}
	}
	for _, link := range dangling {
		since(link)
	}
	a.unowned = unowned
	return out
}

// isPodUID reports whether a text has the form of a uid that an API server gives, or
// of the hash of a static pod's manifest.
func isPodUID(s string) bool {
	if len(s) != 36 && len(s) != 32 {
		return false
	}
	return strings.Trim(s, "0123456789abcdef-") == ""
}

// mendLogs looks after the logs of this node's running containers: one that somebody
// removed is opened again, as a kubelet does it, and one without a link gets it. A
// container that was started before links were asked for has none.
func (a *Agent) mendLogs(ctx context.Context, containers []runtime.Container) {
	for _, c := range containers {
		pod, ok := podlogs.PodOf(c)
		if !ok || c.State != runtime.ContainerRunning {
			continue
		}
		a.mu.Lock()
		own := a.workers[pod.UID] != nil
		a.mu.Unlock()
		if !own {
			continue
		}
		if _, err := os.Lstat(podlogs.File(a.cfg.LogRoot, pod, c.Name, c.Attempt)); errors.Is(err, fs.ErrNotExist) && a.disk.logs != nil {
			if err := a.disk.logs.Reopen(ctx, c.ID); err != nil {
				a.log.Debug("cannot have a log opened again that is gone", "pod", podspec.Title(pod), "container", c.Name, "err", err)
			}
		}
		a.actions.LinkLog(pod, c.Name, c.Attempt, c.ID)
	}
}
