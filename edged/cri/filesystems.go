package cri

import (
	"context"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

var _ runtime.FileSystems = (*Client)(nil)

// FileSystems asks the runtime where it keeps images and writable layers. Of several file
// systems the first counts, as for a kubelet.
func (c *Client) FileSystems(ctx context.Context) (images, layers string, err error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		return "", "", failed("image fs info", err)
	}
	first := func(list []*runtimeapi.FilesystemUsage) string {
		if len(list) == 0 {
			return ""
		}
		return list[0].GetFsId().GetMountpoint()
	}
	return first(r.ImageFilesystems), first(r.ContainerFilesystems), nil
}
