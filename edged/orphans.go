package edged

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/leftovers"
	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/internal/podsources"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/userns"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/static"
)

// adoptPods waits for the first list of pods and gives every pod a worker. What
// runs for a pod that is not in the list is an orphan, see removeOrphans. What
// came from a file ends at once: the folder is the whole truth about that.
func (a *Agent) adoptPods(ctx context.Context, in *podsources.Sources) bool {
	if !in.WaitForFirst(ctx) {
		return false
	}
	sandboxes, ok := a.listSandboxes(ctx)
	if !ok {
		return false
	}
	list := in.All()
	running := make(map[types.UID]bool)
	fromFile := make(map[types.UID]bool)
	for _, s := range sandboxes {
		uid := types.UID(s.PodUID)
		running[uid] = running[uid] || s.Ready
		fromFile[uid] = s.Annotations[runtime.AnnotationSource] == static.SourceFile
	}
	// Pods that run already keep what they have: they are admitted first.
	slices.SortStableFunc(list, func(x, y *corev1.Pod) int {
		switch {
		case running[x.UID] && !running[y.UID]:
			return -1
		case running[y.UID] && !running[x.UID]:
			return 1
		}
		return x.CreationTimestamp.Compare(y.CreationTimestamp.Time)
	})
	// A pod of which only the folder is left is an orphan too.
	folders := a.podFolders()
	a.adoptUserNamespaces(ctx, list, sandboxes, folders)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.setListedLocked(list)
	a.orphans, _ = a.leftovers.Orphans(leftovers.Scan{Sandboxes: sandboxes, Folders: folders}, a.isOwnLocked, time.Now())
	for uid := range a.orphans {
		if fromFile[uid] {
			a.removeOrphanLocked(ctx, uid)
		}
	}
	for _, p := range list {
		if a.isNameTakenLocked(p) || !running[p.UID] && (a.awaitDevicesLocked(p) || a.preemptLocked(ctx, p)) {
			a.waiting = append(a.waiting, p)
			continue
		}
		a.startLocked(ctx, p, running[p.UID])
	}
	return true
}

// setListedLocked remembers which pods are the node's. It needs a.mu.
func (a *Agent) setListedLocked(list []*corev1.Pod) {
	a.listed = make(map[types.UID]bool, len(list))
	for _, p := range list {
		a.listed[p.UID] = true
	}
	maps.DeleteFunc(a.preempting, func(uid types.UID, _ *corev1.Pod) bool { return !a.listed[uid] })
}

// podFolders lists the pods that have a folder on the disk, or resource claims.
func (a *Agent) podFolders() []string {
	uids, err := a.volumes.Pods()
	if err != nil {
		a.log.Warn("cannot look for folders of pods that are gone", "err", err)
	}
	if a.cfg.ResourceClaims != nil {
		uids = append(uids, a.cfg.ResourceClaims.Pods()...)
	}
	return uids
}

// listSandboxes asks the runtime until it answers. It is false when ctx ended
// first.
func (a *Agent) listSandboxes(ctx context.Context) ([]runtime.Sandbox, bool) {
	for {
		sandboxes, err := a.cfg.Runtime.ListSandboxes(ctx, "")
		if err == nil {
			return sandboxes, true
		}
		if ctx.Err() == nil {
			a.log.Warn("cannot list sandboxes", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, false
		case <-time.After(runtimeRetry):
		}
	}
}

// How often orphans are looked for, and how often it is asked, doubling, which
// pods are the node's while that is not known.
const (
	orphanInterval = time.Minute
	orphanDelay    = 10 * time.Second // after the runtime sent an event of an unknown pod
	orphanRetryMin = 2 * time.Second
	orphanRetryMax = time.Minute
)

// removeOrphans ends what is on the node for pods that are not its own, at the
// start and later. One appears later when a runtime finishes a sandbox whose
// creation was given up.
func (a *Agent) removeOrphans(ctx context.Context) {
	retry := orphanRetryMin
	for {
		wait := orphanInterval
		if a.removeKnownOrphans(ctx) {
			retry = orphanRetryMin
		} else {
			wait, retry = retry, min(2*retry, orphanRetryMax)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		case <-a.unknownPod:
			select {
			case <-ctx.Done():
				return
			case <-time.After(orphanDelay):
			}
		}
		a.findOrphans(ctx)
	}
}

// removeKnownOrphans ends the orphans that were found, and reports whether none is
// left. Absence from the list proves that a pod is an orphan only where the list
// is always whole. Where the store was lost and is being filled again, the cloud
// itself is asked; until it answers, what runs goes on.
func (a *Agent) removeKnownOrphans(ctx context.Context) bool {
	bound := make(map[types.UID]bool)
	a.mu.Lock()
	left := len(a.orphans)
	a.mu.Unlock()
	if census, ok := a.cfg.Objects.(BoundPodLister); ok && left > 0 {
		uids, err := census.Bound(ctx)
		if err != nil {
			a.log.Debug("cannot ask which pods are this node's; what runs goes on", "unknown", left, "err", err)
			return false
		}
		for _, uid := range uids {
			bound[uid] = true
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, uid := range slices.Collect(maps.Keys(a.orphans)) {
		if !bound[uid] && ctx.Err() == nil {
			a.removeOrphanLocked(ctx, uid)
		}
	}
	return len(a.orphans) == 0 // the others arrive, or are unbound, soon
}

// removeOrphanLocked ends one orphan. It needs a.mu.
func (a *Agent) removeOrphanLocked(ctx context.Context, uid types.UID) {
	if a.workers[uid] == nil && !a.listed[uid] {
		a.startLocked(ctx, a.orphans[uid], true).markDeleted()
	}
	delete(a.orphans, uid)
}

// isOwnLocked reports whether a pod is the node's, or one of which a worker has not ended yet. It
// needs a.mu.
func (a *Agent) isOwnLocked(uid types.UID) bool { return a.listed[uid] || a.workers[uid] != nil }

// findOrphans looks for what is on the node for pods that are not in the list.
func (a *Agent) findOrphans(ctx context.Context) {
	found, err := a.leftovers.Scan(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.log.Debug("cannot look for sandboxes of pods that are gone", "err", err)
		}
		return
	}
	a.mu.Lock()
	orphans, links := a.leftovers.Orphans(found, a.isOwnLocked, time.Now())
	a.orphans = orphans
	a.mu.Unlock()
	a.leftovers.RemoveLinks(links)
	a.mendLogs(ctx, found.Containers)
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

// newUserNamespaces makes what gives pods their ids.
func (c Config) newUserNamespaces() *userns.Allocator {
	return userns.New(userns.Config{PerPod: uint32(c.UserNamespacesIDsPerPod), MaxPods: c.MaxPods, Files: userns.SystemFiles(), Store: c.Store})
}

// adoptUserNamespaces notes which ids the sandboxes have that are there, and takes back
// those of pods of which nothing is left. Ids of sandboxes count whosever they are.
func (a *Agent) adoptUserNamespaces(ctx context.Context, list []*corev1.Pod, sandboxes []runtime.Sandbox, folders []string) {
	there := make(map[string]bool)
	for _, p := range list {
		there[string(p.UID)] = true
	}
	for _, uid := range folders {
		there[uid] = true
	}
	for _, s := range sandboxes {
		there[s.PodUID] = true
		if ids, ok := userns.Parse(s.Annotations[runtime.AnnotationUserNamespace]); ok {
			a.userns.Found(s.PodUID, ids)
		}
	}
	if err := a.userns.Keep(ctx, func(uid string) bool { return there[uid] }); err != nil && ctx.Err() == nil {
		a.log.Warn("cannot forget the ids of pods that are gone", "err", err)
	}
}

// releaseUserNamespace takes the ids of a pod back of which nothing is left.
func (a *Agent) releaseUserNamespace(ctx context.Context, uid types.UID) {
	if ctx.Err() != nil {
		return // the agent ends, the pod does not
	}
	if err := a.userns.Release(ctx, string(uid)); err != nil && ctx.Err() == nil {
		a.log.Warn("cannot forget the ids of a pod that is gone", "pod", uid, "err", err)
	}
}
