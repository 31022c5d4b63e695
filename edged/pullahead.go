package edged

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// PullImage brings an image to the node before a pod names it. secrets are pull secrets
// for it; the node's own credentials (Config.Credentials) are tried too. Pulls of pods and
// these share Config.MaxPulls. An image that is there is not pulled again, unless its tag is
// "latest" or it came with other credentials. A pod without such credentials does not get
// the image by this. Config.ImageGC.InUse must name the image, or it is removed when the
// disk is full. The error has no credentials in it.
func (a *Agent) PullImage(ctx context.Context, image string, secrets []*corev1.Secret) error {
	_, err := a.images.PullAhead(ctx, image, secrets)
	return err
}
