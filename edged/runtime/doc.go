// Package runtime describes the container runtime of a node: the interface that
// an agent needs, and the values that pass through it. It imports nothing of
// edged, so that adapters, fakes and pure code can share it.
//
//	type Runtime interface {
//		Sandboxes // pod sandboxes: run, stop, remove, list
//		Containers // containers: create, start, stop, remove, list, exec
//		Images // images: list, inspect, pull, remove
//		Machine // the runtime itself: version, health, cgroup driver, events
//	}
//
// edged/cri implements [Runtime] for every runtime that speaks the Container
// Runtime Interface (https://kubernetes.io/docs/concepts/architecture/cri/).
// edged/runtimetest implements it without processes, for tests.
//
// # Contract
//
// All methods may be called by several goroutines at once. What a runtime
// returns belongs to the caller. An error for an object that does not exist
// matches interface{ NotFound() bool }. Removing or stopping an object that does
// not exist is not an error, so that every step can be repeated after a crash.
//
// The labels and annotations in this package are the agent's only durable memory
// of a container. They carry the kubelet's names where the kubelet has one.
//
// The package follows the module's version; what is exported is stable from 1.0 on.
package runtime
