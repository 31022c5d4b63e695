package edged

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/userns"
	"github.com/edgekit/edgekit/edged/runtime"
)

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
