package reclaim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/edgekit/edgekit/edged/internal/podlogs"
	"github.com/edgekit/edgekit/edged/runtime"
)

// ContainerRuntime is what of a runtime removes containers.
type ContainerRuntime interface {
	ListSandboxes(ctx context.Context, podUID string) ([]runtime.Sandbox, error)
	ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error)
	RemoveContainer(ctx context.Context, id string) error
	RemoveSandbox(ctx context.Context, id string) error
}

// ContainersConfig sets up Containers. Runtime, LogRoot and IsOver are required.
type ContainersConfig struct {
	Runtime  ContainerRuntime
	LogRoot  string // folder of the pods' logs
	LogLinks string // folder of links to them; "" means that there is none

	// IsOver reports whether the pod with this uid is this node's, has ended for good,
	// and its last status is durable: nothing of it is read from its containers any
	// more.
	IsOver func(podUID string) bool
	// RemoveOrphans ends what is left of pods that are not the node's. nil does nothing.
	RemoveOrphans func(ctx context.Context) error
	Logger        *slog.Logger // nil discards
}

// Containers removes containers and sandboxes that nobody needs.
type Containers struct{ cfg ContainersConfig }

// NewContainers checks cfg and makes Containers. It does no I/O.
func NewContainers(cfg ContainersConfig) (*Containers, error) {
	switch {
	case cfg.Runtime == nil:
		return nil, errors.New("reclaim: ContainersConfig.Runtime is required")
	case cfg.LogRoot == "":
		return nil, errors.New("reclaim: ContainersConfig.LogRoot is required")
	case cfg.IsOver == nil:
		return nil, errors.New("reclaim: ContainersConfig.IsOver is required")
	}
	if cfg.RemoveOrphans == nil {
		cfg.RemoveOrphans = func(context.Context) error { return nil }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Containers{cfg: cfg}, nil
}

// deadPlan is what to remove, containers first.
type deadPlan struct {
	containers []runtime.Container
	sandboxes  []string
}

// planDead lists the containers and sandboxes of pods that are over. It is what a
// kubelet removes when it runs short of disk. A pod that is not over keeps the
// containers that ended: one for each name is shown as its last state, and the
// pod's worker removes the others. A pod of which anything runs is not over,
// whatever others say.
func planDead(sandboxes []runtime.Sandbox, containers []runtime.Container, isOver func(podUID string) bool) deadPlan {
	alive := make(map[string]bool)
	for _, s := range sandboxes {
		alive[s.PodUID] = alive[s.PodUID] || s.Ready
	}
	for _, c := range containers {
		alive[c.PodUID] = alive[c.PodUID] || c.State != runtime.ContainerExited
	}
	var p deadPlan
	for _, c := range containers {
		if !alive[c.PodUID] && isOver(c.PodUID) {
			p.containers = append(p.containers, c)
		}
	}
	for _, s := range sandboxes {
		if !alive[s.PodUID] && isOver(s.PodUID) {
			p.sandboxes = append(p.sandboxes, s.ID)
		}
	}
	return p
}

// RemoveDead removes the containers and sandboxes of pods that are over, with what
// they wrote and their logs. What is left of pods that are not the node's is ended
// too, which may take until after it returns. It goes through all and returns the
// errors joined.
func (c *Containers) RemoveDead(ctx context.Context) error {
	errs := []error{c.cfg.RemoveOrphans(ctx)}
	// Containers first: one that is made meanwhile has a sandbox that runs.
	containers, err := c.cfg.Runtime.ListContainers(ctx, "")
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("reclaim: %w", err))...)
	}
	sandboxes, err := c.cfg.Runtime.ListSandboxes(ctx, "")
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("reclaim: %w", err))...)
	}
	p := planDead(sandboxes, containers, c.cfg.IsOver)
	for _, k := range p.containers {
		if err := c.remove(ctx, k); err != nil {
			errs = append(errs, fmt.Errorf("reclaim: remove container %s: %w", k.ID, err))
		}
	}
	for _, id := range p.sandboxes {
		if err := c.cfg.Runtime.RemoveSandbox(ctx, id); err != nil {
			errs = append(errs, fmt.Errorf("reclaim: remove sandbox %s: %w", id, err))
		}
	}
	if n := len(p.containers); n > 0 {
		c.cfg.Logger.Info("containers of pods that are over were removed", "containers", n)
	}
	return errors.Join(errs...)
}

// remove removes one container and its log.
func (c *Containers) remove(ctx context.Context, k runtime.Container) error {
	if err := c.cfg.Runtime.RemoveContainer(ctx, k.ID); err != nil {
		return err
	}
	pod, ok := podlogs.PodOf(k)
	if !ok {
		return nil
	}
	return errors.Join(
		podlogs.RemoveFile(podlogs.File(c.cfg.LogRoot, pod, k.Name, k.Attempt)),
		podlogs.Unlink(c.cfg.LogLinks, pod, k.Name, k.ID),
	)
}
