package edged

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/edgekit/edgekit/edged/runtime"

	corev1 "k8s.io/api/core/v1"
)

// The reasons of containers that do not start, as Kubernetes names them.
const (
	reasonImagePull    = "ErrImagePull"
	reasonPullBackOff  = "ImagePullBackOff"
	reasonNeverPull    = "ErrImageNeverPull"
	reasonInvalidImage = "InvalidImageName"
	reasonInspect      = "ImageInspectError"
	reasonConfig       = "CreateContainerConfigError"
	reasonCreate       = "CreateContainerError"
	reasonRun          = "RunContainerError"
	reasonPostStart    = "PostStartHookError"
	reasonCreating     = "ContainerCreating"
	reasonInitializing = "PodInitializing"
	reasonCrashLoop    = "CrashLoopBackOff"
	reasonSandboxLost  = "SandboxLost" // ours, never shown: the sandbox is replaced and the container tried again

	pullShown = 2 * time.Second // how long a failed pull shows as such before it shows as back-off
)

// startError says that one container did not start. Others may.
type startError struct{ reason, message string }

func (e *startError) Error() string { return "edged: " + e.reason + ": " + e.message }

// pullState is the back-off of a container's image.
type pullState struct {
	until   time.Time
	delay   time.Duration
	message string
}

// start creates and starts a container.
func (r *run) start(ctx context.Context, a action) error {
	c, _ := findContainer(r.pod, a.name)
	if c == nil {
		return &startError{reasonCreate, "the pod has no such container"}
	}
	err := r.noSandbox()
	if err == nil {
		err = r.tryStart(ctx, c, a)
	}
	if err == nil {
		r.w.worked(c.Name)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err.reason == reasonSandboxLost {
		return err
	}
	r.w.postpone(c.Name, err)
	return err
}

// postpone notes why a container did not start, and when to try again.
func (w *worker) postpone(name string, err *startError) {
	w.remember(func(m *memory) {
		m.waiting[name] = waiting{err.reason, err.message}
		if !m.retry[name].After(time.Now()) {
			m.retry[name] = time.Now().Add(createRetry)
		}
	})
}

func (r *run) tryStart(ctx context.Context, c *corev1.Container, a action) *startError {
	agent := r.w.a
	warn := func(message string) {
		if ctx.Err() == nil {
			agent.events.container(r.pod, c.Name, corev1.EventTypeWarning, "Failed", message)
		}
	}
	img, fail := r.ensureImage(ctx, c)
	if fail != nil {
		return fail
	}
	cfg, err := agent.containerConfig(ctx, r.pod, c, a.attempt, img, carriedBackOff(r.s.view, stopped(r.s.view.latest(c.Name), time.Now())))
	if err != nil {
		warn("Error: " + err.Error())
		return &startError{reasonConfig, err.Error()}
	}
	if cfg.Security.Namespaces.TargetPID, err = r.targetOf(c.Name); err != nil {
		warn("Error: " + err.Error())
		return &startError{reasonCreate, err.Error()}
	}
	if err := os.MkdirAll(filepath.Join(r.sandbox.LogDirectory, c.Name), 0o755); err != nil {
		warn("Error: " + err.Error())
		return &startError{reasonCreate, err.Error()}
	}
	id, err := agent.cfg.Runtime.CreateContainer(ctx, r.id, cfg, r.sandbox)
	if err != nil && r.sandboxLost(ctx, "") {
		return &startError{reasonSandboxLost, err.Error()}
	}
	if err != nil {
		warn("Error: " + err.Error())
		return &startError{reasonCreate, err.Error()}
	}
	agent.events.container(r.pod, c.Name, corev1.EventTypeNormal, "Created", "Created container: "+c.Name)
	return r.launch(ctx, c, id)
}

// launch starts a created container and runs its hook.
func (r *run) launch(ctx context.Context, c *corev1.Container, id string) *startError {
	agent := r.w.a
	if err := agent.cfg.Runtime.StartContainer(ctx, id); err != nil {
		if r.sandboxLost(ctx, id) {
			return &startError{reasonSandboxLost, err.Error()}
		}
		if ctx.Err() == nil {
			agent.events.container(r.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		}
		return &startError{reasonRun, err.Error()}
	}
	agent.events.container(r.pod, c.Name, corev1.EventTypeNormal, "Started", "Started container "+c.Name)
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	if err := r.hook(ctx, id, c.Ports, c.Lifecycle.PostStart, 0); err != nil && ctx.Err() == nil {
		agent.events.container(r.pod, c.Name, corev1.EventTypeWarning, "FailedPostStartHook", fmt.Sprintf("PostStartHook failed: %v", err))
		run := runtime.Container{ID: id, Name: c.Name}
		if err := r.kill(ctx, run, gracePeriod(r.pod), fmt.Sprintf("FailedPostStartHook: container %s is killed", c.Name)); err != nil {
			agent.log.Debug("cannot kill a container whose hook failed", "container", c.Name, "err", err)
		}
		return &startError{reasonPostStart, err.Error()}
	}
	return nil
}

// sandboxLost reports whether a container could not be made or started because
// the sandbox no longer runs. The container id that did not start, if there is
// one, is then removed: it never ran, so that it must not count as a restart.
func (r *run) sandboxLost(ctx context.Context, id string) bool {
	agent := r.w.a
	sb, err := agent.cfg.Runtime.SandboxStatus(ctx, r.id)
	if err == nil && sb.Ready || err != nil && !isMissing(err) {
		return false
	}
	if id == "" {
		return true
	}
	if err := agent.cfg.Runtime.RemoveContainer(ctx, id); err != nil && ctx.Err() == nil {
		agent.log.Debug("cannot remove a container of a lost sandbox", "pod", podTitle(r.pod), "container", id, "err", err)
	}
	return true
}

// startCreated starts a container that a former step only created.
func (r *run) startCreated(ctx context.Context, a action) error {
	c, _ := findContainer(r.pod, a.name)
	if c == nil {
		return nil
	}
	if err := r.launch(ctx, c, a.id); err != nil {
		if err.reason == reasonSandboxLost {
			return err
		}
		if ctx.Err() == nil {
			r.w.postpone(c.Name, err)
		}
		return err
	}
	r.w.worked(c.Name)
	return nil
}
