package cri

import (
	"context"
	"encoding/json"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

var (
	_ runtime.LogReopener = (*Client)(nil)
	_ runtime.ImageStore  = (*Client)(nil)
)

// ReopenContainerLog has the runtime open a container's log file again after it was
// renamed.
func (c *Client) ReopenContainerLog(ctx context.Context, id string) error {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	if _, err := c.run.ReopenContainerLog(ctx, &runtimeapi.ReopenContainerLogRequest{ContainerId: id}); err != nil {
		return failed("reopen container log", err)
	}
	return nil
}

// ImageFilesystems asks where the runtime keeps images and what containers write. A
// runtime that does not tell them apart names the same ones for both.
func (c *Client) ImageFilesystems(ctx context.Context) (images, containers []runtime.Filesystem, err error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.images.ImageFsInfo(ctx, &runtimeapi.ImageFsInfoRequest{})
	if err != nil {
		return nil, nil, failed("image fs info", err)
	}
	images, containers = filesystems(r.GetImageFilesystems()), filesystems(r.GetContainerFilesystems())
	if len(containers) == 0 {
		containers = images
	}
	return images, containers, nil
}

func filesystems(all []*runtimeapi.FilesystemUsage) []runtime.Filesystem {
	var out []runtime.Filesystem
	for _, f := range all {
		out = append(out, runtime.Filesystem{
			Mountpoint: f.GetFsId().GetMountpoint(), UsedBytes: f.GetUsedBytes().GetValue(), UsedInodes: f.GetInodesUsed().GetValue(),
		})
	}
	return out
}

// SandboxImage reads the image of sandboxes out of the configuration that
// containerd 1.x shows in its status. Later ones mark the image as pinned.
func (c *Client) SandboxImage(ctx context.Context) (string, error) {
	ctx, cancel := c.quick(ctx)
	defer cancel()
	r, err := c.run.Status(ctx, &runtimeapi.StatusRequest{Verbose: true})
	if err != nil {
		return "", failed("status", err)
	}
	return sandboxImageOf(r.GetInfo()), nil
}

// sandboxImageOf reads the image of sandboxes out of a verbose status; "" means that
// it does not say.
func sandboxImageOf(info map[string]string) string {
	var cfg struct {
		SandboxImage string `json:"sandboxImage"`
	}
	text := info["config"]
	if text == "" || len(text) > maxInfo || json.Unmarshal([]byte(text), &cfg) != nil {
		return ""
	}
	return cfg.SandboxImage
}
