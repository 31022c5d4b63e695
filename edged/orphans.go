package edged

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/static"
)

// adoptPods waits for the first list of pods and gives every pod a worker. What
// runs for a pod that is not in the list is an orphan, see removeOrphans. What
// came from a file ends at once: the folder is the whole truth about that.
func (a *Agent) adoptPods(ctx context.Context, in *podSources) bool {
	if !in.waitForFirst(ctx) {
		return false
	}
	sandboxes, ok := a.listSandboxes(ctx)
	if !ok {
		return false
	}
	list := in.all()
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
	a.setOrphansLocked(sandboxes, folders)
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

// setOrphansLocked notes what is on the node for pods that are not in the list and
// have no worker. Sandboxes that carry another node's name belong to an agent that
// shares the runtime. It needs a.mu.
func (a *Agent) setOrphansLocked(sandboxes []runtime.Sandbox, folders []string) {
	a.orphans = make(map[types.UID]*corev1.Pod)
	note := func(pod *corev1.Pod) {
		if uid := pod.UID; !a.listed[uid] && a.workers[uid] == nil && a.orphans[uid] == nil {
			a.orphans[uid] = pod
		}
	}
	for _, s := range sandboxes {
		if node := s.Annotations[runtime.AnnotationNode]; node == "" || node == a.cfg.NodeName {
			note(orphanPod(s))
		}
	}
	for _, uid := range folders {
		note(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}})
	}
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

// orphanPod makes a pod of the labels of a sandbox: enough to stop it within its
// own grace period.
func orphanPod(s runtime.Sandbox) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, UID: types.UID(s.PodUID)}}
	if n, err := strconv.ParseInt(s.Annotations[runtime.AnnotationPodGrace], 10, 64); err == nil && n >= 0 {
		p.Spec.TerminationGracePeriodSeconds = &n
	}
	return p
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
