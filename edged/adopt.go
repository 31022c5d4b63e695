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

	"github.com/edgekit/edgekit/edged/static"
)

// adopt waits for the first list of pods and gives every pod a worker. What
// runs for a pod that is not in it is noted for buryOrphans, except what came
// from a file: the folder is the whole truth about that.
func (a *Agent) adopt(ctx context.Context, in *sources) bool {
	if !in.first(ctx) {
		return false
	}
	sandboxes, ok := a.listSandboxes(ctx)
	if !ok {
		return false
	}
	list := in.all()
	known := make(map[types.UID]bool)
	for _, p := range list {
		known[p.UID] = true
	}
	ghosts := make(map[types.UID]*corev1.Pod)
	fromFile := make(map[types.UID]bool)
	running := make(map[types.UID]bool)
	for _, s := range sandboxes {
		uid := types.UID(s.PodUID)
		running[uid] = running[uid] || s.Ready
		if node := s.Annotations[annotationNode]; !known[uid] && (node == "" || node == a.cfg.NodeName) {
			ghosts[uid] = ghost(s)
			fromFile[uid] = s.Annotations[annotationSource] == static.SourceFile
		}
	}
	uids, err := a.volumes.Pods()
	if err != nil {
		a.log.Warn("cannot look for folders of pods that are gone", "err", err)
	}
	for _, uid := range uids {
		if u := types.UID(uid); !known[u] && ghosts[u] == nil {
			ghosts[u] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: u}}
		}
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
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ghosts = ghosts
	for uid := range ghosts {
		if fromFile[uid] {
			a.buryLocked(ctx, uid)
		}
	}
	for _, p := range list {
		if !a.namedLocked(p) {
			a.startLocked(ctx, p, running[p.UID])
		}
	}
	return true
}

// listSandboxes asks the runtime for as long as it takes. It is false when ctx
// ended first.
func (a *Agent) listSandboxes(ctx context.Context) ([]Sandbox, bool) {
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

// ghost makes a pod of what a sandbox says of it, enough to take it down.
func ghost(s Sandbox) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, UID: types.UID(s.PodUID)}}
	if n, err := strconv.ParseInt(s.Annotations[annotationPodGrace], 10, 64); err == nil && n >= 0 {
		p.Spec.TerminationGracePeriodSeconds = &n
	}
	return p
}

// How often it is asked which pods are the node's, doubling.
const (
	orphanRetryMin = 2 * time.Second
	orphanRetryMax = time.Minute
)

// buryOrphans ends what runs for pods that are not the node's. That a pod is
// not in the list proves it only where the list is always whole. Where it may
// lack pods, because the store was lost and is being filled anew, the cloud
// itself is asked; until it has answered, what runs goes on.
func (a *Agent) buryOrphans(ctx context.Context) {
	for wait := orphanRetryMin; ; wait = min(2*wait, orphanRetryMax) {
		if a.bury(ctx) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// bury reports whether no orphan is left, or may be.
func (a *Agent) bury(ctx context.Context) bool {
	bound := make(map[types.UID]bool)
	a.mu.Lock()
	left := len(a.ghosts)
	a.mu.Unlock()
	if census, ok := a.cfg.Objects.(Census); ok && left > 0 {
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
	for _, uid := range slices.Collect(maps.Keys(a.ghosts)) {
		if !bound[uid] && ctx.Err() == nil {
			a.buryLocked(ctx, uid)
		}
	}
	return len(a.ghosts) == 0 // the others arrive, or are unbound, soon
}

// buryLocked ends one orphan. It needs a.mu.
func (a *Agent) buryLocked(ctx context.Context, uid types.UID) {
	if a.workers[uid] == nil {
		a.startLocked(ctx, a.ghosts[uid], true).vanish()
	}
	delete(a.ghosts, uid)
}
