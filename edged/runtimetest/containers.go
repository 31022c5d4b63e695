package runtimetest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"
)

// CreateContainer makes a container.
func (r *Runtime) CreateContainer(ctx context.Context, sandboxID string, cfg *runtime.ContainerConfig, _ *runtime.SandboxConfig) (string, error) {
	if err := r.begin(ctx, "CreateContainer", cfg.Name); err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[sandboxID]
	if s == nil || !s.Ready {
		return "", fmt.Errorf("runtimetest: sandbox %s is not ready", sandboxID)
	}
	made := cfg.Resources // which callers keep: a change gives them another
	c := &container{cfg: *cfg, program: r.programs[cfg.Name], exited: make(chan struct{})}
	c.Container = runtime.Container{
		ID: r.idLocked("container"), SandboxID: sandboxID, PodUID: s.PodUID, Name: cfg.Name, Attempt: cfg.Attempt, State: runtime.ContainerCreated,
		Created: time.Now(), Image: cfg.ImageName, ImageID: cfg.Image, Resources: &made, Labels: maps.Clone(cfg.Labels), Annotations: maps.Clone(cfg.Annotations),
	}
	for _, m := range cfg.Mounts {
		if m.RecursiveReadOnly {
			c.RecursiveReadOnly = append(c.RecursiveReadOnly, m.ContainerPath)
		}
	}
	r.containers[c.ID] = c
	r.sendEventLocked(s.PodUID)
	return c.ID, nil
}

// StartContainer starts a container.
func (r *Runtime) StartContainer(ctx context.Context, id string) error {
	if err := r.begin(ctx, "StartContainer", r.containerName(id)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return gone(id)
	}
	if c.State != runtime.ContainerCreated {
		return fmt.Errorf("runtimetest: container %s is %s", id, c.State)
	}
	c.State, c.Started = runtime.ContainerRunning, time.Now()
	if err := c.program.StartErr; err != nil {
		c.Reason, c.Message = "StartError", err.Error()
		r.exitLocked(c, 128)
		return err
	}
	if d := c.program.RunFor; d > 0 {
		c.timer = time.AfterFunc(d, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.exitLocked(c, c.program.ExitCode)
		})
	}
	r.sendEventLocked(c.PodUID)
	return nil
}

// exitLocked ends a container that runs.
func (r *Runtime) exitLocked(c *container, code int32) {
	if c.State == runtime.ContainerExited {
		return
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	c.State, c.ExitCode, c.Finished = runtime.ContainerExited, code, time.Now()
	if c.Reason == "" {
		c.Reason = "Error"
		if code == 0 {
			c.Reason = "Completed"
		}
	}
	close(c.exited)
	r.sendEventLocked(c.PodUID)
}

// containerName is the name of a container, "" if there is none.
func (r *Runtime) containerName(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		return c.Name
	}
	return "?"
}

// StopContainer stops a container, as its program lets it.
func (r *Runtime) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	if err := r.begin(ctx, "StopContainer", r.containerName(id)); err != nil {
		return err
	}
	r.mu.Lock()
	c := r.containers[id]
	if c == nil || c.State != runtime.ContainerRunning {
		r.mu.Unlock()
		return nil
	}
	wait, code := c.program.StopAfter, c.program.ExitCode
	r.mu.Unlock()
	if wait > grace {
		wait, code = grace, 137
	}
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-c.exited:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exitLocked(c, code)
	return nil
}

// RemoveContainer removes a container.
func (r *Runtime) RemoveContainer(ctx context.Context, id string) error {
	if err := r.begin(ctx, "RemoveContainer", r.containerName(id)); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		r.exitLocked(c, 137)
		delete(r.containers, id)
	}
	return nil
}

// ListContainers lists containers.
func (r *Runtime) ListContainers(_ context.Context, podUID string) ([]runtime.Container, error) {
	if err := r.look("ListContainers"); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []runtime.Container
	for _, id := range slices.Sorted(maps.Keys(r.containers)) {
		if c := r.containers[id].Container; podUID == "" || c.PodUID == podUID {
			out = append(out, c)
		}
	}
	return out, nil
}

// ContainerStatus reads a container.
func (r *Runtime) ContainerStatus(_ context.Context, id string) (runtime.Container, error) {
	if err := r.look("ContainerStatus"); err != nil {
		return runtime.Container{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return runtime.Container{}, gone(id)
	}
	return c.Container, nil
}

// ExecSync answers a command as ExecWith said.
func (r *Runtime) ExecSync(ctx context.Context, id string, cmd []string, _ time.Duration) (runtime.ExecResult, error) {
	if err := r.look("ExecSync"); err != nil {
		return runtime.ExecResult{}, err
	}
	c, err := r.ContainerStatus(ctx, id)
	if err != nil {
		return runtime.ExecResult{}, err
	}
	if c.State != runtime.ContainerRunning {
		return runtime.ExecResult{}, fmt.Errorf("runtimetest: container %s is %s", id, c.State)
	}
	r.mu.Lock()
	fn := r.exec
	r.mu.Unlock()
	if fn == nil {
		return runtime.ExecResult{}, nil
	}
	return fn(c, cmd)
}
