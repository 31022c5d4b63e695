// Package actions does for a pod what package plan has decided: it sets up volumes and the
// pod's cgroup, makes and removes sandboxes and containers through the runtime, runs hooks,
// resizes, and takes the pod down. It is the kubelet's pkg/kubelet/kuberuntime without its
// decisions.
//
//	p := actions.New(actions.Config{Runtime: runtime, Volumes: volumes, ...})
//	p.Do(ctx, owner, situation, decision)
//
// [Performer.Do] does the actions in order, and blocks: for a pull, a hook or a grace period it
// may take minutes. A failure ends it where later actions build on what failed. What the next
// decision must know it writes to the [Memory] of the pod's [Owner]; nothing depends on that for
// safety, since the runtime, the disk and the cgroups say what is there. Whoever owns the pod
// calls Do once at a time for a pod. A Performer serves all pods of a node at the same time.
package actions
