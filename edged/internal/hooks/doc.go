// Package hooks runs the lifecycle hooks of containers: exec, httpGet and sleep.
// https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
//
//	err := hooks.Run(ctx, hooks.Target{Executor: runtime, ContainerID: id, PodIP: ip, Ports: ports}, c.Lifecycle.PreStop, grace)
//
// Run blocks until the hook has answered. When a hook runs, and what follows when it
// fails, is the caller's.
package hooks
