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
		out.SandboxImage = store.SandboxImage
	}
	return containermetrics.New(out)
}

// Cadvisor writes what the kubelet shows on /metrics/cadvisor, in Prometheus' text format: the
// metrics container_* and machine_* by which dashboards show CPU, memory, disks and network of pods.
// They come from the control groups, which are read once for each call. While the runtime does not
// answer, container_scrape_error is 1 and the machine alone is shown. An error is one of w.
func (s *Stats) Cadvisor(ctx context.Context, w io.Writer) error { return s.cadvisor.Write(ctx, w) }
