package edged

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// pullShown is how long a failed pull shows as ErrImagePull before it shows as
// ImagePullBackOff.
const pullShown = 2 * time.Second

// wantedImage is an image that a container needs: its own, or that of a volume.
type wantedImage struct {
	container string // the container's name
	key       string // of the back-off: the container's, or the volume's
	image     string
	policy    corev1.PullPolicy
}

// imageOf is the container's own image.
func imageOf(c *corev1.Container) wantedImage {
	return wantedImage{c.Name, c.Name, c.Image, c.ImagePullPolicy}
}

// ensureVolumeImages brings the images of the volumes that a container mounts to the
// node (KEP-4639), by name of the volume.
func (r *execution) ensureVolumeImages(ctx context.Context, c *corev1.Container) (map[string]runtime.Image, *startError) {
	if err := podspec.CheckImageVolumes(r.pod, c, r.w.a.node.Features()); err != nil {
		r.w.a.events.Container(r.pod, c.Name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
		return nil, &startError{plan.ReasonCreateContainerConfigError, err.Error()}
	}
	var out map[string]runtime.Image
	for _, v := range podspec.ImageVolumes(r.pod, c) {
		// No container has a name with a slash.
		img, fail := r.ensureImage(ctx, wantedImage{c.Name, "volumes/" + v.Name, v.Image.Reference, v.Image.PullPolicy})
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

// ensureImage brings an image to the node, by its pull policy:
// https://kubernetes.io/docs/concepts/containers/images/#image-pull-policy
func (r *execution) ensureImage(ctx context.Context, want wantedImage) (runtime.Image, *startError) {
	agent := r.w.a
	event := func(kind, reason, message string) {
		agent.events.Container(r.pod, want.container, kind, reason, message)
	}
	ref, err := image.Parse(want.image)
	if err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", want.image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonInvalidImageName)
		return runtime.Image{}, &startError{plan.ReasonInvalidImageName, message}
	}
	// An image that is being collected is gone when it is looked for. From here on this
	// pod keeps it.
	if agent.disk.images != nil {
		if err := agent.disk.images.Settle(ctx); err != nil {
			return runtime.Image{}, &startError{plan.ReasonImageInspectError, err.Error()}
		}
	}
	img, have, err := agent.cfg.Runtime.ImageStatus(ctx, ref.String())
	if err != nil {
		message := fmt.Sprintf("Failed to inspect image %q: %v", want.image, err)
		event(corev1.EventTypeWarning, "InspectFailed", message)
		return runtime.Image{}, &startError{plan.ReasonImageInspectError, message}
	}
	// The API server fills the policy in. A static pod has no API server.
	policy := want.policy
	if policy == "" {
		policy = corev1.PullIfNotPresent
		if ref.Tag == "latest" {
			policy = corev1.PullAlways
		}
	}
	if have && policy != corev1.PullAlways && r.mayUseWithoutPull(ctx, ref, img) {
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", want.image))
		return img, nil
	}
	if policy == corev1.PullNever {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", want.image)
		if have {
			message = fmt.Sprintf("Container image %q is on the node, but was pulled with credentials that this pod does not have, and its pull policy is Never: "+
				"name a pull secret of the registry in imagePullSecrets, or use the policy IfNotPresent", want.image)
		}
		event(corev1.EventTypeWarning, plan.ReasonErrImageNeverPull, message)
		event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonErrImageNeverPull)
		return runtime.Image{}, &startError{plan.ReasonErrImageNeverPull, message}
	}
	return r.pullImage(ctx, want, ref, img)
}

// pullImage pulls the image unless it is in back-off. present is what the node has
// of it, if that has an id: it is used while the registry is out of reach, where
// Config.OfflineImages allows it.
func (r *execution) pullImage(ctx context.Context, want wantedImage, ref image.Ref, present runtime.Image) (runtime.Image, *startError) {
	agent := r.w.a
	event := func(kind, reason, message string) {
		agent.events.Container(r.pod, want.container, kind, reason, message)
	}
	var state pullState
	r.w.updateMemory(func(m *memory) { state = m.pulls[want.key] })
	if time.Now().Before(state.until) {
		text := fmt.Sprintf("Back-off pulling image %q", want.image)
		event(corev1.EventTypeNormal, "BackOff", text)
		event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonImagePullBackOff)
		r.w.updateMemory(func(m *memory) { m.retry[want.container] = state.until })
		return runtime.Image{}, &startError{plan.ReasonImagePullBackOff, text + ": " + plan.ReasonErrImagePull + ": " + state.message}
	}
	// Config.MaxPulls at a time: a slow link is shared by few. The event says how long the
	// wait was.
	asked := time.Now()
	select {
	case agent.pulls <- struct{}{}:
		defer func() { <-agent.pulls }()
	case <-ctx.Done():
		return runtime.Image{}, &startError{plan.ReasonErrImagePull, ctx.Err().Error()}
	}
	keys := r.credentials(ctx, ref)
	if present.ID != "" && agent.registries.IsUnreachable(ref.Registry) && r.mayUseOffline(ref, present, keys) {
		return r.useStaleImage(want, present, "it did not answer a moment ago"), nil
	}
	event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", want.image))
	began := time.Now()
	img, err := r.pullWithCredentials(ctx, ref, keys)
	if err == nil {
		r.w.updateMemory(func(m *memory) { delete(m.pulls, want.key) })
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.",
			want.image, time.Since(began).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond), img.Size))
		agent.node.RefreshImages()
		return img, nil
	}
	if ctx.Err() != nil {
		return runtime.Image{}, &startError{plan.ReasonErrImagePull, ctx.Err().Error()}
	}
	if present.ID != "" && r.mayUseOffline(ref, present, keys) {
		if away := agent.registries.CheckReachable(ctx, ref.Registry); away != nil {
			return r.useStaleImage(want, present, away.Error()), nil
		}
	}
	event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", want.image, err))
	event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonErrImagePull)
	// The back-off of images is that of restarts: 10 seconds to 5 minutes.
	next := pullState{delay: min(max(2*state.delay, plan.InitialBackOff), plan.MaxBackOff), message: err.Error()}
	next.until = time.Now().Add(next.delay)
	r.w.updateMemory(func(m *memory) {
		m.pulls[want.key] = next
		m.retry[want.container] = time.Now().Add(pullShown)
	})
	return runtime.Image{}, &startError{plan.ReasonErrImagePull, err.Error()}
}

// credentials reads the pod's credentials for an image. A pull secret that cannot
// be read is left out, as a kubelet does: the pull may work without it.
func (r *execution) credentials(ctx context.Context, ref image.Ref) []image.Credential {
	agent := r.w.a
	var secrets []*corev1.Secret
	for _, name := range r.pod.Spec.ImagePullSecrets {
		s, err := agent.cfg.Objects.Secret(ctx, r.pod.Namespace, name.Name)
		if err != nil {
			agent.events.Pod(r.pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", name.Name))
			continue
		}
		secrets = append(secrets, s)
	}
	keys, err := image.Credentials(secrets, ref)
	if err != nil {
		agent.log.Warn("some pull secrets are unusable", "pod", podspec.Title(r.pod), "err", err)
	}
	return keys
}

// pullWithCredentials pulls an image with each of the credentials in turn, or
// without any when there are none, and notes which worked. The note is made before
// the pull begins: without it the image would be for every pod (KEP-2535).
func (r *execution) pullWithCredentials(ctx context.Context, ref image.Ref, keys []image.Credential) (runtime.Image, error) {
	agent := r.w.a
	tries := []*image.Credential{nil}
	if len(keys) > 0 {
		tries = nil
	}
	for i := range keys {
		tries = append(tries, &keys[i])
	}
	if err := agent.imagePulls.Begin(ref); err != nil {
		return runtime.Image{}, fmt.Errorf("cannot note that the image is pulled: %w", err) // it would be for everybody
	}
	img, err := r.tryCredentials(ctx, ref, tries)
	if err != nil && ctx.Err() == nil { // otherwise it is not known whether the runtime goes on
		if err := agent.imagePulls.Fail(ref); err != nil {
			agent.log.Warn("cannot note that a pull failed", "image", ref.String(), "err", err)
		}
	}
	return img, err
}

// tryCredentials pulls an image with the first of the credentials that works.
func (r *execution) tryCredentials(ctx context.Context, ref image.Ref, tries []*image.Credential) (runtime.Image, error) {
	agent := r.w.a
	var err error
	for _, key := range tries {
		var auth *runtime.ImageAuth
		if key != nil {
			auth = &runtime.ImageAuth{Username: key.Username, Password: key.Password, Server: key.Server, IdentityToken: key.IdentityToken, RegistryToken: key.RegistryToken}
		}
		var id string
		if id, err = agent.cfg.Runtime.PullImage(ctx, ref.String(), auth, r.sandbox); err != nil {
			continue
		}
		img, have, err := agent.cfg.Runtime.ImageStatus(ctx, id)
		if err == nil && !have {
			err = fmt.Errorf("image %s is not there after it was pulled", ref)
		}
		if err == nil {
			if err := agent.imagePulls.Note(ref, img.ID, key); err != nil {
				agent.log.Warn("cannot note that an image was pulled: the next pod pulls it again", "image", ref.String(), "err", err)
			}
		}
		return img, err
	}
	return runtime.Image{}, err
}

// mayUseWithoutPull reports whether the pod may have an image that is on the node
// without a pull, by Config.ImageVerification (KEP-2535).
func (r *execution) mayUseWithoutPull(ctx context.Context, ref image.Ref, present runtime.Image) bool {
	agent := r.w.a
	switch agent.cfg.ImageVerification {
	case NeverVerify:
		return true
	case NeverVerifyPreloadedImages:
		if !agent.imagePulls.Pulled(ref, present.ID) {
			return true
		}
	}
	return agent.imagePulls.Could(ref, present.ID, nil) || agent.imagePulls.Could(ref, present.ID, r.credentials(ctx, ref))
}

// mayUseOffline reports whether the pod may have an image that is on the node
// without its registry being asked: if the registry once gave it for one of these
// credentials.
func (r *execution) mayUseOffline(ref image.Ref, present runtime.Image, keys []image.Credential) bool {
	return r.w.a.cfg.OfflineImages == On && r.w.a.imagePulls.Could(ref, present.ID, keys)
}

// useStaleImage records that a container starts with what the node has of an
// image, though its pull policy asks for a pull each time.
func (r *execution) useStaleImage(want wantedImage, present runtime.Image, why string) runtime.Image {
	r.w.updateMemory(func(m *memory) { delete(m.pulls, want.key) })
	r.w.a.events.Container(r.pod, want.container, corev1.EventTypeWarning, "RegistryOutOfReach", fmt.Sprintf(
		"Container image %q is used as it is on the node, where it was pulled with this pod's credentials before: its registry is out of reach (%s)", want.image, why))
	return present
}

// prunePulls forgets who pulled the images that are no longer on the node.
func (a *Agent) prunePulls(all []runtime.Image) {
	present := make([]image.Present, 0, len(all))
	for _, i := range all {
		present = append(present, image.Present{ID: i.ID, Names: slices.Concat(i.Tags, i.Digests)})
	}
	switch n, err := a.imagePulls.Prune(present); {
	case err != nil:
		a.log.Warn("records of image pulls cannot be removed; trying again when images are listed next", "err", err)
	case n > 0:
		a.log.Debug("records of pulls of images that are gone were removed", "files", n)
	}
}
