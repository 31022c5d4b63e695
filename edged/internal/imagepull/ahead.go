package imagepull

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/image"
	"github.com/edgekit/edgekit/edged/runtime"
)

// PullAhead brings an image to the node that no pod names yet. secrets are pull secrets;
// Config.Credentials are asked too, for a pod without a service account. An image that is
// on the node is not pulled again, unless its tag is "latest" or it was pulled with other
// credentials. Which credentials worked is noted as for a pod, so that the image does not
// become one for everybody. It takes one of the places of Config.MaxPulls.
func (p *Puller) PullAhead(ctx context.Context, name string, secrets []*corev1.Secret) (runtime.Image, error) {
	ref, err := image.Parse(name)
	if err != nil {
		return runtime.Image{}, fmt.Errorf("%q is no image: %w", name, err)
	}
	own, err := image.Credentials(secrets, ref)
	if err != nil {
		p.log.Warn("some pull secrets are unusable", "image", ref.String(), "err", err)
	}
	keys := slices.Concat(own, p.others(ctx, &corev1.Pod{}, ref))
	if err := p.cfg.Settle(ctx); err != nil {
		return runtime.Image{}, err
	}
	present, have, err := p.cfg.Images.ImageStatus(ctx, ref.String())
	if err != nil {
		return runtime.Image{}, err
	}
	if have && ref.Tag != "latest" && (!p.cfg.Pulls.Pulled(ref, present.ID) || p.cfg.Pulls.Could(ref, present.ID, keys)) {
		return present, nil
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return runtime.Image{}, ctx.Err()
	}
	if err := p.rate.Wait(ctx); err != nil {
		return runtime.Image{}, err
	}
	return p.pullWithCredentials(ctx, Request{Image: name}, ref, keys)
}
