package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// ListImages lists the images on the node.
func (c *Client) ListImages(ctx context.Context) ([]runtime.Image, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.images.ListImages(ctx, &runtimeapi.ListImagesRequest{})
	if err != nil {
		return nil, failed("list images", err)
	}
	out := make([]runtime.Image, 0, len(r.Images))
	for _, i := range r.Images {
		out = append(out, image(i))
	}
	return out, nil
}

// ImageStatus finds an image on the node.
func (c *Client) ImageStatus(ctx context.Context, ref string) (runtime.Image, bool, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.images.ImageStatus(ctx, &runtimeapi.ImageStatusRequest{Image: &runtimeapi.ImageSpec{Image: ref}})
	if missing(err) {
		return runtime.Image{}, false, nil
	}
	if err != nil {
		return runtime.Image{}, false, failed("image status", err)
	}
	if r.GetImage().GetId() == "" {
		return runtime.Image{}, false, nil
	}
	return image(r.Image), true, nil
}

// PullImage pulls an image. It takes as long as it takes: end ctx to give up.
func (c *Client) PullImage(ctx context.Context, ref string, auth *runtime.ImageAuth, sandbox *runtime.SandboxConfig) (string, error) {
	req := &runtimeapi.PullImageRequest{Image: &runtimeapi.ImageSpec{Image: ref}, SandboxConfig: sandboxConfig(sandbox)}
	if auth != nil {
		req.Auth = &runtimeapi.AuthConfig{
			Username: auth.Username, Password: auth.Password, Auth: auth.Auth, ServerAddress: auth.Server,
			IdentityToken: auth.IdentityToken, RegistryToken: auth.RegistryToken,
		}
	}
	r, err := c.images.PullImage(ctx, req)
	if err != nil {
		return "", failed("pull image", err)
	}
	return r.ImageRef, nil
}

// RemoveImage removes an image.
func (c *Client) RemoveImage(ctx context.Context, id string) error {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	if _, err := c.images.RemoveImage(ctx, &runtimeapi.RemoveImageRequest{Image: &runtimeapi.ImageSpec{Image: id}}); err != nil && !missing(err) {
		return failed("remove image", err)
	}
	return nil
}

// image is an image in the form of package runtime. The user is a number or a
// name, never both.
func image(i *runtimeapi.Image) runtime.Image {
	out := runtime.Image{ID: i.Id, Tags: i.RepoTags, Digests: i.RepoDigests, Size: i.Size, Username: i.Username, Pinned: i.Pinned, SpecifiedImageRef: i.GetSpec().GetImage()}
	if i.Uid != nil {
		uid := i.Uid.Value
		out.UID = &uid
	}
	return out
}
