package edged

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
)

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
	if have && policy != corev1.PullAlways && r.mayHave(ctx, ref, img) {
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine", c.Image))
		return img, nil
	}
	if policy == corev1.PullNever {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", c.Image)
		if have {
			message = fmt.Sprintf("Container image %q is on the node, but was pulled with credentials that this pod does not have, and its pull policy is Never: "+
				"name a pull secret of the registry in imagePullSecrets, or use the policy IfNotPresent", c.Image)
		}
		event(corev1.EventTypeWarning, reasonNeverPull, message)
		event(corev1.EventTypeWarning, "Failed", "Error: "+reasonNeverPull)
		return Image{}, &startError{reasonNeverPull, message}
	}
	return r.pull(ctx, c, ref, img)
}

// pull pulls the image unless it is in back-off. present is what the node has of
// it, if that has an id: it is used while the registry is out of reach.
func (r *run) pull(ctx context.Context, c *corev1.Container, ref image.Ref, present Image) (Image, *startError) {
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
	keys := r.credentials(ctx, ref)
	if present.ID != "" && agent.registries.isAway(ref.Registry) && r.mayUse(ref, present, keys) {
		return r.usePresent(c, present, "it did not answer a moment ago"), nil
	}
	event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", c.Image))
	began := time.Now()
	img, err := r.fetch(ctx, ref, keys)
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
	if present.ID != "" && r.mayUse(ref, present, keys) {
		if away := agent.registries.check(ctx, ref.Registry); away != nil {
			return r.usePresent(c, present, away.Error()), nil
		}
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

// credentials reads the pod's credentials for an image.
func (r *run) credentials(ctx context.Context, ref image.Ref) []image.Credential {
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
	return keys
}

// fetch pulls an image with each of the credentials in turn, or without any when
// there are none, and notes with which it could.
func (r *run) fetch(ctx context.Context, ref image.Ref, keys []image.Credential) (Image, error) {
	agent := r.w.a
	tries := []*image.Credential{nil}
	if len(keys) > 0 {
		tries = nil
	}
	for i := range keys {
		tries = append(tries, &keys[i])
	}
	if err := agent.imagePulls.Begin(ref); err != nil {
		return Image{}, fmt.Errorf("cannot note that the image is pulled: %w", err) // it would be for everybody
	}
	img, err := r.fetchWith(ctx, ref, tries)
	if err != nil && ctx.Err() == nil { // otherwise it is not known whether the runtime goes on
		if err := agent.imagePulls.Fail(ref); err != nil {
			agent.log.Warn("cannot note that a pull failed", "image", ref.String(), "err", err)
		}
	}
	return img, err
}

// fetchWith pulls an image with the first of the credentials with which it can.
func (r *run) fetchWith(ctx context.Context, ref image.Ref, tries []*image.Credential) (Image, error) {
	agent := r.w.a
	var err error
	for _, key := range tries {
		var auth *ImageAuth
		if key != nil {
			auth = &ImageAuth{Username: key.Username, Password: key.Password, Server: key.Server, IdentityToken: key.IdentityToken, RegistryToken: key.RegistryToken}
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
	return Image{}, err
}

// prunePulls forgets who pulled the images that are no longer on the node.
func (a *Agent) prunePulls(all []Image) {
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

// mayHave reports whether the pod may have an image that is on the node without a
// pull, by Config.ImageVerification.
func (r *run) mayHave(ctx context.Context, ref image.Ref, present Image) bool {
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

// mayUse reports whether the pod may have an image that is on the node without
// asking its registry: if the registry once gave it for one of the credentials.
func (r *run) mayUse(ref image.Ref, present Image, keys []image.Credential) bool {
	return r.w.a.cfg.OfflineImages == On && r.w.a.imagePulls.Could(ref, present.ID, keys)
}

// usePresent says why a container starts with what the node has of an image that
// its pull policy has pulled anew each time.
func (r *run) usePresent(c *corev1.Container, present Image, why string) Image {
	r.w.remember(func(m *memory) { delete(m.pulls, c.Name) })
	r.w.a.events.container(r.pod, c.Name, corev1.EventTypeWarning, "RegistryOutOfReach", fmt.Sprintf(
		"Container image %q is used as it is on the node, where it was pulled with this pod's credentials before: its registry is out of reach (%s)", c.Image, why))
	return present
}
