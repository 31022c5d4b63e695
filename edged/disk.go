package edged

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/agentmetrics"
	"github.com/edgekit/edgekit/edged/internal/events"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/nodestatus"
	"github.com/edgekit/edgekit/edged/reclaim"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/volume"
)

// ContainerLogs says how the logs of containers are kept. The zero value has the
// kubelet's defaults, and no links.
type ContainerLogs struct {
	MaxSize  int64         // bytes of a log at which it is rotated; 0 means 10 MiB, negative turns rotation off
	MaxFiles int           // files kept of one container; 0 means 5, the least is 2
	Workers  int           // logs that are rotated at the same time; 0 means 1
	Interval time.Duration // how often logs are looked at; 0 means 10 seconds, the least is 3
	// Links is a folder for links to the logs of all containers, by which log
	// collectors find them; a kubelet's is /var/log/containers. "" makes none.
	Links string
}

// ImageGC says when images that nobody uses are removed. The zero value has the
// kubelet's defaults.
type ImageGC struct {
	HighThresholdPercent int           // percent of the images' disk in use at which images are removed; 0 means 85, 100 turns that off
	LowThresholdPercent  int           // percent down to which they are; 0 means 80
	MinimumAge           time.Duration // how long an image is known before it may be removed; 0 means 2 minutes, negative not at all
	MaximumAge           time.Duration // how long an image is unused before it is removed whatever the disk has; 0 means for ever
	// InUse lists images, by reference or id, that must stay though no pod names them:
	// pulled ahead of an update, or kept to go back. nil means none.
	InUse func() []string
}

// disk is what keeps the node's disk from filling up; each is nil where the runtime
// lacks what it needs.
type disk struct {
	logs       *reclaim.Logs
	images     *reclaim.Images
	containers *reclaim.Containers
}

// newDisk makes what keeps the disk from filling up. It does no I/O.
func (a *Agent) newDisk() (d disk, err error) {
	cfg := &a.cfg
	d.containers, err = reclaim.NewContainers(reclaim.ContainersConfig{
		Runtime: cfg.Runtime, LogRoot: cfg.LogRoot, LogLinks: cfg.ContainerLogs.Links, IsOver: a.isOver, RemoveOrphans: a.endOrphans, Logger: a.log,
	})
	if err != nil {
		return d, err
	}
	if rt, ok := cfg.Runtime.(reclaim.LogRuntime); ok && cfg.ContainerLogs.MaxSize >= 0 {
		d.logs, err = reclaim.NewLogs(reclaim.LogsConfig{
			Root: cfg.LogRoot, Runtime: rt, MaxSize: cfg.ContainerLogs.MaxSize, MaxFiles: cfg.ContainerLogs.MaxFiles,
			Workers: cfg.ContainerLogs.Workers, Interval: cfg.ContainerLogs.Interval, Logger: a.log,
		})
		if err != nil {
			return d, err
		}
	}
	if store, ok := cfg.Runtime.(runtime.ImageStore); ok {
		d.images, err = reclaim.NewImages(reclaim.ImagesConfig{
			Runtime: cfg.Runtime, Store: store, InUse: a.imagesInUse,
			HighThresholdPercent: cfg.ImageGC.HighThresholdPercent, LowThresholdPercent: cfg.ImageGC.LowThresholdPercent,
			MinimumAge: cfg.ImageGC.MinimumAge, MaximumAge: cfg.ImageGC.MaximumAge,
			Removed: a.node.RefreshImages, Event: a.events.Node, Logger: a.log,
		})
	}
	return d, err
}

// settleImages waits until an image that is being collected is gone.
func (d disk) settleImages(ctx context.Context) error {
	if d.images == nil {
		return nil
	}
	return d.images.Settle(ctx)
}

// runDisk rotates logs and collects images until ctx ends. What it starts is added to
// wg. All pods of the first list have a worker by then: what they name is in use.
func (a *Agent) runDisk(ctx context.Context, wg *sync.WaitGroup) {
	d := a.disk
	if d.logs == nil && a.cfg.ContainerLogs.MaxSize >= 0 {
		a.log.Warn("logs of containers are not rotated: the container runtime cannot open them again (ReopenContainerLog)")
	}
	if d.images == nil {
		a.log.Warn("images are not collected: the container runtime does not say where they are (ImageFsInfo)")
	}
	if d.logs != nil {
		wg.Go(func() { _ = d.logs.Run(ctx) }) // the Agent runs once: so do they
	}
	if d.images != nil {
		wg.Go(func() { _ = d.images.Run(ctx) })
	}
}

// checkDisk checks the settings that keep the disk from filling up.
func (c Config) checkDisk() error {
	logs, gc := c.ContainerLogs, c.ImageGC
	switch {
	case logs.MaxFiles != 0 && logs.MaxFiles < 2:
		return fmt.Errorf("edged: Config.ContainerLogs.MaxFiles is %d: want at least 2, or 0 for 5", logs.MaxFiles)
	case logs.Workers < 0:
		return fmt.Errorf("edged: Config.ContainerLogs.Workers is %d: want at least 1, or 0 for 1", logs.Workers)
	case logs.Interval != 0 && logs.Interval < 3*time.Second:
		return fmt.Errorf("edged: Config.ContainerLogs.Interval is %s: want at least 3s, or 0 for 10s", logs.Interval)
	case logs.Links != "" && !filepath.IsAbs(logs.Links):
		return fmt.Errorf("edged: Config.ContainerLogs.Links %q is not an absolute path", logs.Links)
	}
	high, low := gc.HighThresholdPercent, gc.LowThresholdPercent
	if high == 0 {
		high = 85
	}
	if low == 0 {
		low = 80
	}
	switch {
	case high < 0 || high > 100:
		return fmt.Errorf("edged: Config.ImageGC.HighThresholdPercent is %d: want 1 to 100, or 0 for 85", high)
	case low < 0 || low >= high:
		return fmt.Errorf("edged: Config.ImageGC.LowThresholdPercent is %d: it must be below HighThresholdPercent, which is %d", low, high)
	case gc.MaximumAge < 0:
		return fmt.Errorf("edged: Config.ImageGC.MaximumAge is %s: want 0, for no maximum, or more", gc.MaximumAge)
	case gc.MaximumAge > 0 && gc.MaximumAge <= max(gc.MinimumAge, 0), gc.MaximumAge > 0 && gc.MinimumAge == 0 && gc.MaximumAge <= 2*time.Minute:
		return fmt.Errorf("edged: Config.ImageGC.MaximumAge is %s: it must be more than MinimumAge, which is 2m unless it is set", gc.MaximumAge)
	}
	return nil
}

// imagesInUse lists the images that pods of the node name, whether or not they have
// a container yet, and those that Config asks for.
func (a *Agent) imagesInUse() []string {
	a.mu.Lock()
	waiting := a.waiting
	a.mu.Unlock()
	var out []string
	for _, p := range waiting {
		out = append(out, podspec.Images(p)...)
	}
	a.eachWorker(func(w *worker) {
		if p := w.podWithResources(); p != nil {
			out = append(out, podspec.Images(p)...)
		}
	})
	if a.cfg.ImageGC.InUse != nil {
		out = append(out, a.cfg.ImageGC.InUse()...)
	}
	return out
}

// isOver reports whether a pod of the node has ended for good, and its last status
// is durable: its volumes are torn down only then.
func (a *Agent) isOver(podUID string) bool {
	a.mu.Lock()
	w := a.workers[types.UID(podUID)]
	a.mu.Unlock()
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mem.TornDown && !w.alive
}

// newVolumes makes what prepares the pods' volumes, of what Objects and Reports can do
// besides. inUseChanged is called when the node uses other attached volumes than before.
func (c Config) newVolumes(recorder *events.Recorder, metrics *agentmetrics.Metrics, inUseChanged func()) (*volume.Manager, error) {
	cfg := volume.Config{
		Root: c.Root, Source: c.API.withLocalCA(c.Objects), Logger: c.Logger, CSI: c.CSI,
		Node: c.NodeName, Labels: nodestatus.Labels(c.NodeName, c.Labels), InUseChanged: inUseChanged, Worked: metrics.VolumeWorked,
		Event: func(pod *corev1.Pod, reason, message string) {
			recorder.Pod(pod, corev1.EventTypeWarning, reason, message)
		},
		OnDisk: func(err error) {
			recorder.Node(corev1.EventTypeWarning, "SecretsOnDisk", "the agent may not mount a tmpfs: pods' secrets are written to disk: "+err.Error())
		},
	}
	cfg.Claims, _ = c.Objects.(VolumeReader) // nil without
	cfg.CSIDrivers, _ = c.Objects.(CSIDriverReader)
	cfg.TrustBundles, _ = c.Objects.(TrustBundleReader)
	cfg.PodCertificates, _ = c.Objects.(PodCertificates)
	cfg.Attachments, _ = c.Objects.(VolumeAttachmentReader)
	if node, ok := c.Objects.(NodeReader); ok {
		cfg.OwnNode = node.OwnNode
	}
	if claims, ok := c.Reports.(ClaimReporter); ok {
		cfg.Expanded = claims.ClaimExpanded
	}
	return volume.New(cfg)
}
