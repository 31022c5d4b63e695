package stats

import (
	"context"
	"io"

	"github.com/edgekit/edgekit/edged/internal/containermetrics"
	"github.com/edgekit/edgekit/edged/runtime"
)

// newCadvisor makes what Cadvisor asks.
func newCadvisor(cfg Config) *containermetrics.Writer {
	out := containermetrics.Config{Runtime: cfg.Containers, Pods: cfg.Pods.Pods, SystemInfo: cfg.SystemInfo, Proc: cfg.Proc}
	if cfg.Containers != nil {
		out.PodsGroup = cfg.PodsGroup
	}
	if store, ok := cfg.Containers.(runtime.ImageStore); ok {
		out.SandboxImage = func(ctx context.Context) (string, error) {
			image, err := store.SandboxImage(ctx)
			if image != "" || err != nil {
				return image, err
			}
			return pinnedImage(ctx, cfg.Containers)
		}
	}
	return containermetrics.New(out)
}

// pinnedImage is the image of sandboxes of a runtime that does not name it: it pins that one. Where
// several are pinned it is not known, which is "".
func pinnedImage(ctx context.Context, containers Containers) (string, error) {
	images, ok := containers.(interface {
		ListImages(ctx context.Context) ([]runtime.Image, error)
	})
	if !ok {
		return "", nil
	}
	all, err := images.ListImages(ctx)
	name := ""
	for _, i := range all {
		switch {
		case !i.Pinned || len(i.Tags) == 0:
		case name != "":
			return "", nil
		default:
			name = i.Tags[0]
		}
	}
	return name, err
}

// Cadvisor writes what the kubelet shows on /metrics/cadvisor, in Prometheus' text format: the
// metrics container_* and machine_* by which dashboards show CPU, memory, disks and network of pods.
// They come from the control groups, which are read once for each call. While the runtime does not
// answer, container_scrape_error is 1 and the machine alone is shown. An error is one of w.
func (s *Stats) Cadvisor(ctx context.Context, w io.Writer) error { return s.cadvisor.Write(ctx, w) }
