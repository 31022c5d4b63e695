package imagepull

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/runtime"
)

// pull pulls the image unless it is in back-off. present is what the node has of it, if
// that has an id: it is used while the registry is out of reach, where Config.Offline
// allows it.
func (p *Puller) pull(ctx context.Context, want Request, ref image.Ref, present runtime.Image) (runtime.Image, *Failure) {
	event := p.eventsOf(want)
	own := p.secrets(ctx, want.Pod, ref)
	attempt := attemptOf(ref, own)
	if last := want.BackOffs.get(want.Key); last.attempt == attempt && time.Now().Before(last.until) {
		text := fmt.Sprintf("Back-off pulling image %q", want.Image)
		event(corev1.EventTypeNormal, "BackOff", text)
		event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonImagePullBackOff)
		return runtime.Image{}, &Failure{plan.ReasonImagePullBackOff, text + ": " + plan.ReasonErrImagePull + ": " + last.message, last.until}
	}
	// Config.MaxPulls at a time: a slow link is shared by few. The event says how long the
	// wait was.
	asked := time.Now()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return runtime.Image{}, &Failure{Reason: plan.ReasonErrImagePull, Message: ctx.Err().Error()}
	}
	if err := p.rate.Wait(ctx); err != nil {
		return runtime.Image{}, &Failure{Reason: plan.ReasonErrImagePull, Message: err.Error()}
	}
	keys := slices.Concat(own, p.others(ctx, want.Pod, ref))
	if present.ID != "" && p.cfg.Registries.IsUnreachable(ref.Registry) && p.mayUseOffline(ctx, want.Pod, ref, present, keys) {
		return p.useStale(want, present, "it did not answer a moment ago"), nil
	}
	event(corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", want.Image))
	began := time.Now()
	img, err := p.pullWithCredentials(ctx, want, ref, keys)
	if err == nil {
		want.BackOffs.clear(want.Key)
		event(corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %s (%s including waiting). Image size: %d bytes.",
			want.Image, time.Since(began).Truncate(time.Millisecond), time.Since(asked).Truncate(time.Millisecond), img.Size))
		p.cfg.Pulled(img.Size, time.Since(began))
		return img, nil
	}
	if ctx.Err() != nil {
		return runtime.Image{}, &Failure{Reason: plan.ReasonErrImagePull, Message: ctx.Err().Error()}
	}
	if present.ID != "" && p.mayUseOffline(ctx, want.Pod, ref, present, keys) {
		if away := p.cfg.Registries.CheckReachable(ctx, ref.Registry); away != nil {
			return p.useStale(want, present, away.Error()), nil
		}
	}
	event(corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", want.Image, err))
	event(corev1.EventTypeWarning, "Failed", "Error: "+plan.ReasonErrImagePull)
	want.BackOffs.fail(want.Key, attempt, err)
	return runtime.Image{}, &Failure{plan.ReasonErrImagePull, err.Error(), time.Now().Add(shown)}
}

// attemptOf is a hash of the image and the credentials of a pull: equal ones are the same
// attempt, and the credentials are not kept.
func attemptOf(ref image.Ref, keys []image.Credential) [sha256.Size]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%q %q", ref, keys))
}

// others asks Config.Credentials. A source that fails is left out, as a kubelet does: the
// pull may work without it.
func (p *Puller) others(ctx context.Context, pod *corev1.Pod, ref image.Ref) []image.Credential {
	var keys []image.Credential
	for _, source := range p.cfg.Credentials {
		got, err := source.Credentials(ctx, pod, ref)
		if err != nil && ctx.Err() == nil {
			p.log.Warn("some registry credentials are unusable", "pod", podspec.Title(pod), "image", ref.String(), "err", err)
		}
		keys = append(keys, got...)
	}
	return keys
}

// identified reports whether one of Config.Credentials would have credentials for the pod
// from an object with which the image was pulled, without asking it for them.
func (p *Puller) identified(ctx context.Context, pod *corev1.Pod, ref image.Ref, id string) bool {
	var keys []image.Credential
	for _, source := range p.cfg.Credentials {
		if s, ok := source.(identifier); ok {
			for _, from := range s.Sources(ctx, pod, ref) {
				keys = append(keys, image.Credential{Source: from})
			}
		}
	}
	return p.cfg.Pulls.Could(ref, id, keys)
}

// secrets reads the credentials for an image in the pod's secrets. A pull secret that cannot
// be read is left out, as a kubelet does: the pull may work without it.
func (p *Puller) secrets(ctx context.Context, pod *corev1.Pod, ref image.Ref) []image.Credential {
	var secrets []*corev1.Secret
	for _, name := range pod.Spec.ImagePullSecrets {
		s, err := p.cfg.Secrets.Secret(ctx, pod.Namespace, name.Name)
		if err != nil {
			p.cfg.Events.Pod(pod, corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
				fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", name.Name))
			continue
		}
		secrets = append(secrets, s)
	}
	keys, err := image.Credentials(secrets, ref)
	if err != nil {
		p.log.Warn("some pull secrets are unusable", "pod", podspec.Title(pod), "err", err)
	}
	return keys
}

// pullWithCredentials pulls an image with each of the credentials in turn, or
// without any when there are none, and notes which worked. The note is made before
// the pull begins: without it the image would be for every pod (KEP-2535).
func (p *Puller) pullWithCredentials(ctx context.Context, want Request, ref image.Ref, keys []image.Credential) (runtime.Image, error) {
	tries := []*image.Credential{nil}
	if len(keys) > 0 {
		tries = nil
	}
	for i := range keys {
		tries = append(tries, &keys[i])
	}
	if err := p.cfg.Pulls.Begin(ref); err != nil {
		return runtime.Image{}, fmt.Errorf("cannot note that the image is pulled: %w", err) // it would be for everybody
	}
	img, err := p.tryCredentials(ctx, want, ref, tries)
	if err != nil && ctx.Err() == nil { // otherwise it is not known whether the runtime goes on
		if err := p.cfg.Pulls.Fail(ref); err != nil {
			p.log.Warn("cannot note that a pull failed", "image", ref.String(), "err", err)
		}
	}
	return img, err
}

// tryCredentials pulls an image with the first of the credentials that works.
func (p *Puller) tryCredentials(ctx context.Context, want Request, ref image.Ref, tries []*image.Credential) (runtime.Image, error) {
	var err error
	for _, key := range tries {
		var auth *runtime.ImageAuth
		if key != nil {
			auth = &runtime.ImageAuth{Username: key.Username, Password: key.Password, Server: key.Server, IdentityToken: key.IdentityToken, RegistryToken: key.RegistryToken}
		}
		var id string
		if id, err = p.cfg.Images.PullImage(ctx, ref.String(), auth, want.Sandbox); err != nil {
			continue
		}
		img, have, err := p.cfg.Images.ImageStatus(ctx, id)
		if err == nil && !have {
			err = fmt.Errorf("image %s is not there after it was pulled", ref)
		}
		if err == nil {
			if err := p.cfg.Pulls.Note(ref, img.ID, key); err != nil {
				p.log.Warn("cannot note that an image was pulled: the next pod pulls it again", "image", ref.String(), "err", err)
			}
		}
		return img, err
	}
	return runtime.Image{}, err
}
