package pleg

import (
	"context"
	"errors"
	"strconv"

	"github.com/edgekit/edgekit/edged/runtime"
)

// Runtime is what of a container runtime says which sandboxes and containers there are;
// see runtime.Runtime.
type Runtime interface {
	ListSandboxes(ctx context.Context, podUID string) ([]runtime.Sandbox, error)
	ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error)
	Events(ctx context.Context, fn func(runtime.Event)) error
}

// FromRuntime makes a Source of a container runtime. The state of a sandbox is whether it
// is ready, that of a container the one that the runtime lists.
func FromRuntime(r Runtime) Source { return runtimeSource{r} }

// runtimeSource shows a runtime to a Watcher.
type runtimeSource struct{ runtime Runtime }

// Snapshot lists all sandboxes and containers with their states.
func (s runtimeSource) Snapshot(ctx context.Context) (map[string]Item, error) {
	sandboxes, err := s.runtime.ListSandboxes(ctx, "")
	if err != nil {
		return nil, err
	}
	containers, err := s.runtime.ListContainers(ctx, "")
	if err != nil {
		return nil, err
	}
	out := make(map[string]Item, len(sandboxes)+len(containers))
	for _, sb := range sandboxes {
		out[sb.ID] = Item{PodUID: sb.PodUID, State: strconv.FormatBool(sb.Ready)}
	}
	for _, c := range containers {
		out[c.ID] = Item{PodUID: c.PodUID, State: c.State.String()}
	}
	return out, nil
}

// Events passes the events of the runtime on.
func (s runtimeSource) Events(ctx context.Context, fn func(uid string)) error {
	err := s.runtime.Events(ctx, func(e runtime.Event) { fn(e.PodUID) })
	if errors.Is(err, runtime.ErrNoEvents) {
		return ErrNoEvents
	}
	return err
}
