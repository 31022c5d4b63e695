package runtime

import "context"

// Resizer is what a Runtime may implement besides, to change the resources of what
// runs (KEP-1287). Without it a pod keeps the resources that it was made with.
type Resizer interface {
	// UpdateContainerResources sets the resources of a container, running or not.
	// A zero field is left as it is. The error for one that is not there matches
	// interface{ NotFound() bool }.
	UpdateContainerResources(ctx context.Context, id string, r Resources) error
	// UpdateSandboxResources tells a runtime that a pod's resources change, for
	// runtimes that have to know: those with a virtual machine for each pod.
	// Overhead is the part of the sandbox itself. The pod's cgroup is the caller's.
	// A runtime that has no use for it returns nil; an error refuses the change.
	UpdateSandboxResources(ctx context.Context, id string, overhead, r Resources) error
}
