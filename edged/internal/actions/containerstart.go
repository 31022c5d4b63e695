package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/hooks"
	"github.com/edgekit/edgekit/edged/internal/imagepull"
	"github.com/edgekit/edgekit/edged/internal/notfound"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// startError says that one container did not start. The others of the pod may.
type startError struct{ reason, message string }

func (e *startError) Error() string { return "edged: " + e.reason + ": " + e.message }

// startContainer creates and starts a container.
func (r *execution) startContainer(ctx context.Context, a plan.Action) error {
	c, _ := podspec.FindContainer(r.pod, a.Name)
	if c == nil {
		return &startError{plan.ReasonCreateContainerError, "the pod has no such container"}
	}
	err := r.checkSandbox()
	if err == nil {
		err = r.createAndLaunch(ctx, c, a)
	}
	if err == nil {
		r.p.cfg.Metrics.ContainerStarted(containerKind(r.pod, c.Name), "")
		r.clearBackOff(c.Name)
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	r.p.cfg.Metrics.ContainerStarted(containerKind(r.pod, c.Name), err.reason)
	if err.reason == plan.ReasonSandboxLost {
		return err
	}
	r.postpone(c.Name, err)
	return err
}

// postpone notes why a container did not start, and when to try again.
func (r *execution) postpone(name string, err *startError) {
	r.owner.Update(func(m *Memory) {
		m.Waiting[name] = plan.Waiting{Reason: err.reason, Message: err.message}
		if !m.Retry[name].After(time.Now()) {
			m.Retry[name] = time.Now().Add(min(createRetry<<min(m.fails[name], 8), createRetryMax))
			m.fails[name]++
		}
	})
}

// createAndLaunch gets the image, creates the container and starts it. Each
// failure has the kubelet's reason, which kubectl shows.
func (r *execution) createAndLaunch(ctx context.Context, c *corev1.Container, a plan.Action) *startError {
	warn := func(message string) {
		if ctx.Err() == nil {
			r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeWarning, "Failed", message)
		}
	}
	volumeImages, fail := r.ensureVolumeImages(ctx, c)
	if fail != nil {
		return fail
	}
	img, fail := r.ensureImage(ctx, imagepull.Request{Container: c.Name, Key: c.Name, Image: c.Image, Policy: c.ImagePullPolicy})
	if fail != nil {
		return fail
	}
	cfg, err := r.p.cfg.Specs.ContainerConfig(ctx, r.pod, podspec.ContainerRequest{
		Spec: c, Attempt: a.Attempt, Image: img, VolumeImages: volumeImages, BackOff: plan.SuccessorBackOff(r.s.View, plan.AsStopped(r.s.View.Latest(c.Name), time.Now()), r.p.cfg.MaxBackOff),
	}, r.facts())
	if err == nil {
		err = r.addClaimDevices(ctx, c, cfg)
	}
	if err != nil {
		warn("Error: " + err.Error())
		return &startError{plan.ReasonCreateContainerConfigError, err.Error()}
	}
	cfg.Security.Namespaces.User = r.sandbox.Security.Namespaces.User
	r.p.cfg.Placement.Place(r.pod, c.Name, &cfg.Resources)
	if err := r.addDevices(ctx, c, cfg); err != nil {
		warn("Error: " + err.Error())
		return &startError{plan.ReasonCreateContainerConfigError, err.Error()}
	}
	if cfg.Security.Namespaces.TargetPID, err = r.targetOf(c.Name); err != nil {
		warn("Error: " + err.Error())
		return &startError{plan.ReasonCreateContainerError, err.Error()}
	}
	// The runtime does not make the folder of the container's log.
	if err := os.MkdirAll(filepath.Join(r.sandbox.LogDirectory, c.Name), 0o755); err != nil {
		warn("Error: " + err.Error())
		return &startError{plan.ReasonCreateContainerError, err.Error()}
	}
	id, err := r.p.cfg.Runtime.CreateContainer(ctx, r.id, cfg, r.sandbox)
	if err != nil && r.sandboxLost(ctx, "") {
		return &startError{plan.ReasonSandboxLost, err.Error()}
	}
	if err != nil {
		warn("Error: " + err.Error())
		return &startError{plan.ReasonCreateContainerError, err.Error()}
	}
	r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeNormal, "Created", "Created container: "+c.Name)
	r.p.cfg.Placement.Created(id, cfg.Resources.CPUSetCPUs)
	return r.launch(ctx, c, id, a.Attempt)
}

// ensureVolumeImages brings the images of the volumes that a container mounts to the
// node (KEP-4639), by name of the volume.
func (r *execution) ensureVolumeImages(ctx context.Context, c *corev1.Container) (map[string]runtime.Image, *startError) {
	if err := podspec.CheckImageVolumes(r.pod, c, r.p.cfg.Node.Features()); err != nil {
		r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		return nil, &startError{plan.ReasonCreateContainerConfigError, err.Error()}
	}
	var out map[string]runtime.Image
	for _, v := range podspec.ImageVolumes(r.pod, c) {
		// No container has a name with a slash.
		want := imagepull.Request{Container: c.Name, Key: "volumes/" + v.Name, Image: v.Image.Reference, Policy: v.Image.PullPolicy}
		img, fail := r.ensureImage(ctx, want)
		if fail != nil {
			return nil, fail
		}
		if out == nil {
			out = make(map[string]runtime.Image)
		}
		out[v.Name] = img
	}
	return out, nil
}

// ensureImage brings an image to the node for this pod.
func (r *execution) ensureImage(ctx context.Context, want imagepull.Request) (runtime.Image, *startError) {
	want.Pod, want.Sandbox, want.BackOffs = r.pod, r.sandbox, r.owner.Pulls()
	ctx, end := r.traceImage(ctx, want.Container, want.Image)
	img, fail := r.p.cfg.Images.Ensure(ctx, want)
	if fail == nil {
		end(nil)
		return img, nil
	}
	end(&startError{fail.Reason, fail.Message})
	if !fail.RetryAt.IsZero() {
		r.owner.Update(func(m *Memory) { m.Retry[want.Container] = fail.RetryAt })
	}
	return runtime.Image{}, &startError{fail.Reason, fail.Message}
}

// startFinish is how long a start of a container that is under way may take after the agent, or
// the step, was stopped. A start that is cancelled leaves a container that has failed, and the
// next one counts as a restart.
const startFinish = 10 * time.Second

// finishing returns a context that ends a time after ctx does. done releases it.
func finishing(ctx context.Context, after time.Duration) (_ context.Context, done func()) {
	late, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var timer *time.Timer
	ready := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		timer = time.AfterFunc(after, cancel)
		close(ready)
	})
	return late, func() {
		if !stop() {
			<-ready
			timer.Stop()
		}
		cancel()
	}
}

// launch starts a created container, attempt being its restart count, and runs its
// postStart hook. If the hook fails the container is killed, as the API says.
func (r *execution) launch(ctx context.Context, c *corev1.Container, id string, attempt uint32) *startError {
	start, done := finishing(ctx, startFinish)
	err := r.p.cfg.Runtime.StartContainer(start, id)
	done()
	if err != nil {
		if r.sandboxLost(ctx, id) {
			return &startError{plan.ReasonSandboxLost, err.Error()}
		}
		if ctx.Err() == nil {
			r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		}
		return &startError{plan.ReasonRunContainerError, err.Error()}
	}
	r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeNormal, "Started", "Started container "+c.Name)
	r.p.cfg.Placement.Started(r.pod, c.Name, id)
	r.p.LinkLog(r.pod, c.Name, attempt, id)
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	if err := hooks.Run(ctx, r.hookTarget(id, c.Ports), c.Lifecycle.PostStart, 0); err != nil && ctx.Err() == nil {
		r.p.cfg.Events.Container(r.pod, c.Name, corev1.EventTypeWarning, "FailedPostStartHook", fmt.Sprintf("PostStartHook failed: %v", err))
		// As the API says: a container whose postStart hook fails is killed, and restarts by
		// its policy.
		run := runtime.Container{ID: id, Name: c.Name}
		if err := r.kill(ctx, run, podspec.GracePeriod(r.pod), fmt.Sprintf("FailedPostStartHook: container %s is killed", c.Name)); err != nil {
			r.p.cfg.Logger.Debug("cannot kill a container whose hook failed", "container", c.Name, "err", err)
		}
		return &startError{plan.ReasonPostStartHookError, err.Error()}
	}
	return nil
}

// sandboxLost reports whether a container could not be created or started because
// its sandbox no longer runs. The container id that did not start, if there is
// one, is removed: it never ran, and must not count as a restart.
func (r *execution) sandboxLost(ctx context.Context, id string) bool {
	sb, err := r.p.cfg.Runtime.SandboxStatus(ctx, r.id)
	if err == nil && sb.Ready || err != nil && !notfound.Is(err) {
		return false
	}
	if id == "" {
		return true
	}
	if err := r.p.cfg.Runtime.RemoveContainer(ctx, id); err != nil && ctx.Err() == nil {
		r.p.cfg.Logger.Debug("cannot remove a container of a lost sandbox", "pod", podspec.Title(r.pod), "container", id, "err", err)
	}
	return true
}

// startCreated starts a container that an earlier step only created.
func (r *execution) startCreated(ctx context.Context, a plan.Action) error {
	c, _ := podspec.FindContainer(r.pod, a.Name)
	if c == nil {
		return nil
	}
	attempt := uint32(0)
	if latest := r.s.View.Latest(c.Name); latest != nil {
		attempt = latest.Attempt
	}
	if err := r.launch(ctx, c, a.ID, attempt); err != nil {
		if err.reason == plan.ReasonSandboxLost {
			return err
		}
		if ctx.Err() == nil {
			r.postpone(c.Name, err)
		}
		return err
	}
	r.clearBackOff(c.Name)
	return nil
}

// checkSandbox says why no container can be created in the pod's sandbox: there is
// none, or it is one that another program or an older release made for a pod that
// this node does not support.
func (r *execution) checkSandbox() *startError {
	var own *podspec.UnsupportedError
	switch refused := podspec.UnsupportedPod(r.pod); {
	case refused != nil:
		return &startError{refused.Reason, refused.Message}
	case errors.As(r.refused, &own):
		return &startError{own.Reason, own.Message}
	case r.id == "" || r.sandbox == nil:
		return &startError{plan.ReasonCreateContainerError, "the pod has no sandbox"}
	}
	return nil
}

// targetOf is the id of the container whose processes an ephemeral container is to
// see (targetContainerName, KEP-277); "" if it names none.
func (r *execution) targetOf(name string) (string, error) {
	for i := range r.pod.Spec.EphemeralContainers {
		e := &r.pod.Spec.EphemeralContainers[i]
		if e.Name != name || e.TargetContainerName == "" {
			continue
		}
		target := r.s.View.Latest(e.TargetContainerName)
		if target == nil || target.State != runtime.ContainerRunning {
			return "", fmt.Errorf("unable to find target container %q: it does not run", e.TargetContainerName)
		}
		return target.ID, nil
	}
	return "", nil
}

// containerKind is the kind of a container, in the words of the metrics.
func containerKind(pod *corev1.Pod, name string) string {
	if _, init := podspec.FindContainer(pod, name); init {
		return "init_container"
	}
	if podspec.IsEphemeral(pod, name) {
		return "ephemeral_container"
	}
	return "container"
}
