package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/shutdown/logind"
	"github.com/edgekit/edgekit/meta/manager"
)

// nodeFlags are settings of the node and its pods by the names of the kubelet's flags or,
// where there is none, of the fields of a KubeletConfiguration.
type nodeFlags struct {
	AllowedUnsafeSysctls      []string                `help:"Sysctls of the kernel's namespaces besides the safe ones that pods may set: names, or patterns ending in *." placeholder:"NAME,..."`
	PodsPerCore               int                     `help:"How many pods the node may run for each CPU, at most --max-pods in all. 0: no such limit." default:"0"`
	ProviderID                string                  `help:"The machine's name at its provider (spec.providerID), set when the node registers." name:"provider-id" placeholder:"ID"`
	NodeStatusUpdateFrequency time.Duration           `help:"How often the machine and its runtime are looked at, also for evictions. What changed is reported at once; nothing is reported on a clock." default:"10s"`
	NodeStatusMaxImages       int                     `help:"How many images the Node shows. -1: all." default:"50"`
	ManifestURL               string                  `help:"URL of static pods: a Pod or a PodList (YAML or JSON) that this node runs without the cloud. What was read last is kept for a start without the network." name:"manifest-url" placeholder:"URL"`
	ManifestURLHeader         []string                `help:"Headers of requests to --manifest-url." name:"manifest-url-header" placeholder:"NAME:VALUE,..." json:"-"` // a secret: /configz does not show it
	HTTPCheckFrequency        time.Duration           `help:"How often --manifest-url is looked at." default:"20s" name:"http-check-frequency"`
	FileCheckFrequency        time.Duration           `help:"How often --static-pod-dir is looked at." default:"1s"`
	MaxContainerRestartPeriod time.Duration           `help:"The longest pause between restarts of a container that keeps exiting: 1s to 5m. It is the kubelet's crashLoopBackOff.maxContainerRestartPeriod." default:"5m"`
	EventQPS                  int                     `help:"How many events of pods the node reports in a second, and as many of the node itself; more are dropped. 0: no limit." default:"50" name:"event-qps"`
	EventBurst                int                     `help:"How many events the node may report at once." default:"100"`
	ShutdownGracePeriod       time.Duration           `help:"How long a shutdown of the machine waits for pods to end, through systemd-logind. 0: not at all." default:"0s"`
	ShutdownGraceCritical     time.Duration           `help:"The part of --shutdown-grace-period that only critical pods have, after the others have ended." default:"0s" name:"shutdown-grace-period-critical-pods"`
	ShutdownGraceByPriority   map[int32]time.Duration `help:"How long a shutdown waits for pods of each range of priorities, lowest first, in place of the two settings before: 0=20s,2000000000=10s." mapsep:"," placeholder:"PRIORITY=TIME,..." name:"shutdown-grace-period-by-pod-priority"`
}

// apply puts the settings into the agent's. What values may be is checked there, but for
// what has another form here.
func (f *nodeFlags) apply(cfg *edged.Config) error {
	refuse := func(setting, format string, args ...any) error {
		return &program.UsageError{Setting: setting, Reason: fmt.Sprintf(format, args...)}
	}
	switch {
	case f.NodeStatusUpdateFrequency < time.Second:
		return refuse("node-status-update-frequency", "%s: want 1s or more", f.NodeStatusUpdateFrequency)
	case f.HTTPCheckFrequency < time.Second:
		return refuse("http-check-frequency", "%s: want 1s or more", f.HTTPCheckFrequency)
	case f.FileCheckFrequency < 100*time.Millisecond:
		return refuse("file-check-frequency", "%s: want 100ms or more", f.FileCheckFrequency)
	case f.NodeStatusMaxImages < -1:
		return refuse("node-status-max-images", "%d: want -1 for all, or 0 and more", f.NodeStatusMaxImages)
	}
	cfg.AllowedSysctls, cfg.PodsPerCore, cfg.ProviderID, cfg.NodeCheck = f.AllowedUnsafeSysctls, f.PodsPerCore, f.ProviderID, f.NodeStatusUpdateFrequency
	switch cfg.NodeStatusMaxImages = f.NodeStatusMaxImages; f.NodeStatusMaxImages {
	case -1:
		cfg.NodeStatusMaxImages = 1 << 30
	case 0:
		cfg.NodeStatusMaxImages = -1
	}
	cfg.MaxContainerRestartPeriod, cfg.EventQPS, cfg.EventBurst = f.MaxContainerRestartPeriod, f.EventQPS, f.EventBurst
	cfg.StaticPodURL, cfg.StaticPodURLHeader = f.ManifestURL, make(http.Header)
	cfg.StaticPodURLCheck, cfg.StaticPodDirCheck = f.HTTPCheckFrequency, f.FileCheckFrequency
	for _, pair := range f.ManifestURLHeader {
		name, value, ok := strings.Cut(pair, ":")
		if !ok || name == "" || strings.ContainsAny(pair, "\r\n") {
			return refuse("manifest-url-header", "a header is not of the form NAME:VALUE") // the value may be a secret
		}
		cfg.StaticPodURLHeader.Add(name, strings.TrimSpace(value))
	}
	if f.ManifestURL == "" && len(f.ManifestURLHeader) > 0 {
		return refuse("manifest-url-header", "there is no --manifest-url that it belongs to: give that, or leave it out")
	}
	cfg.Shutdown = edged.Shutdown{
		GracePeriod: f.ShutdownGracePeriod, GracePeriodCriticalPods: f.ShutdownGraceCritical, GracePeriodByPodPriority: f.ShutdownGraceByPriority, Dial: logind.Dial,
	}
	return nil
}

// lastReports is how long the pods' last statuses have to reach the cloud before a shutdown.
const lastReports = time.Second

// sendLast waits, with a link, for what was reported last: it goes out at once, but the link
// ends with the machine. What did not arrive is sent after the boot.
func sendLast(mgr *manager.Manager) func(context.Context) {
	return func(ctx context.Context) {
		if !mgr.Connection().Connected {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(lastReports):
		}
	}
}
