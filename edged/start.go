package edged

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
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
	r.w.remember(func(m *memory) {
		m.waiting[c.Name] = waiting{err.reason, err.message}
		if _, ok := m.retry[c.Name]; !ok || !m.retry[c.Name].After(time.Now()) {
			m.retry[c.Name] = time.Now().Add(createRetry)
		}
	})
	return err
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
	cfg, err := agent.containerConfig(ctx, r.pod, c, a.attempt, img, carriedBackOff(r.s.view, r.s.view.latest(c.Name)))
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
		run := Container{ID: id, Name: c.Name}
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
		r.w.remember(func(m *memory) { m.waiting[c.Name] = waiting{err.reason, err.message} })
		return err
	}
	r.w.worked(c.Name)
	return nil
}

// ensureImage brings the container's image to the node, by its pull policy.
func (r *run) ensureImage(ctx context.Context, c *corev1.Container) (Image, *startError) {
	agent := r.w.a
	event := func(kind, reason, message string) { agent.events.container(r.pod, c.Name, kind, reason, message) }
	ref, err := image.Parse(c.Image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", c.Image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		event(corev1.EventTypeWarning, "Failed", "Error: "+reasonInvalidImage)
		return Image{}, &startError{reasonInvalidImage, message}
	}
	img, have, err := agent.cfg.Runtime.ImageStatus(ctx, ref.String())
	if err != nil {
		message := fmt.Sprintf("Failed to inspect image %q: %v", c.Image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		return Image{}, &startError{reasonInspect, message}
	}
	policy := c.ImagePullPolicy
	if policy == "" {
		policy = corev1.PullIfNotPresent
		if ref.Tag == "latest" {
			policy = corev1.PullAlways
		}
	}
	if have && policy != corev1.PullAlways {
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", c.Image))
		return img, nil
	}
	if policy == corev1.PullNever {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		event(corev1.EventTypeWarning, reasonNeverPull, message)
		event(corev1.EventTypeWarning, "Failed", "Error: "+reasonNeverPull)
		return Image{}, &startError{reasonNeverPull, message}
	}
	return r.pull(ctx, c, ref)
}

// pull pulls the image unless it is in back-off.
func (r *run) pull(ctx context.Context, c *corev1.Container, ref image.Ref) (Image, *startError) {
	agent := r.w.a
	event := func(kind, reason, message string) { agent.events.container(r.pod, c.Name, kind, reason, message) }
	var state pullState
	r.w.remember(func(m *memory) { state = m.pulls[c.Name] })
	if time.Now().Before(state.until) {
		text := fmt.Sprintf("Back-off pulling image %q", c.Image)
		event(corev1.EventTypeNormal, "BackOff", text)
		event(corev1.EventTypeWarning, "Failed", "Error: "+reasonPullBackOff)
		r.w.remember(func(m *memory) { m.retry[c.Name] = state.until })
		return Image{}, &startError{reasonPullBackOff, text + ": " + reasonImagePull + ": " + state.message}
	}
	asked := time.Now()
	select {
	case agent.pulls <- struct{}{}:
		defer func() { <-agent.pulls }()
	case <-ctx.Done():
		return Image{}, &startError{reasonImagePull, ctx.Err().Error()}
	}
	event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	began := time.Now()
	img, err := r.fetch(ctx, ref)
	if err == nil {
		r.w.remember(func(m *memory) { delete(m.pulls, c.Name) })
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.",
			c.Image, time.Since(began).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond), img.Size))
		agent.node.imagesChanged()
		return img, nil
	}
	if ctx.Err() != nil {
		return Image{}, &startError{reasonImagePull, ctx.Err().Error()}
	}
	event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", c.Image, err))
	event(corev1.EventTypeWarning, "Failed", "Error: "+reasonImagePull)
	next := pullState{delay: min(max(2*state.delay, backOffFirst), backOffMax), message: err.Error()}
	next.until = time.Now().Add(next.delay)
	r.w.remember(func(m *memory) {
		m.pulls[c.Name] = next
		m.retry[c.Name] = time.Now().Add(pullShown)
	})
	return Image{}, &startError{reasonImagePull, err.Error()}
}

// fetch pulls an image with each of the pod's credentials for it in turn, or
// without any when there are none.
func (r *run) fetch(ctx context.Context, ref image.Ref) (Image, error) {
	agent := r.w.a
	var secrets []*corev1.Secret
	for _, name := range r.pod.Spec.ImagePullSecrets {
		s, err := agent.cfg.Objects.Secret(ctx, r.pod.Namespace, name.Name)
		if err != nil {
			agent.events.pod(r.pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", name.Name))
			continue
		}
		secrets = append(secrets, s)
	}
	keys, err := image.Credentials(secrets, ref)
	if err != nil {
		agent.log.Warn("some pull secrets are unusable", "pod", podTitle(r.pod), "err", err)
	}
	auths := []*ImageAuth{nil}
	if len(keys) > 0 {
		auths = nil
	}
	for _, k := range keys {
		auths = append(auths, &ImageAuth{Username: k.Username, Password: k.Password, Server: k.Server, IdentityToken: k.IdentityToken, RegistryToken: k.RegistryToken})
	}
	for _, auth := range auths {
		var id string
		if id, err = agent.cfg.Runtime.PullImage(ctx, ref.String(), auth, r.sandbox); err != nil {
			continue
		}
		img, have, err := agent.cfg.Runtime.ImageStatus(ctx, id)
		if err == nil && !have {
			err = fmt.Errorf("image %s is not there after it was pulled", ref)
		}
		return img, err
	}
	return Image{}, err
}
