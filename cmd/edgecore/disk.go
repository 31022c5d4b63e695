package main

import (
	"fmt"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

// diskFlags are the settings that keep the node's disk from filling up. Their names
// and defaults are those of the fields of a KubeletConfiguration.
type diskFlags struct {
	ContainerLogMaxSize         string        `help:"Size at which the log of a container is rotated, for example 10Mi. =-1 turns rotation off." default:"10Mi"`
	ContainerLogMaxFiles        int           `help:"How many files are kept of one container's log, at least 2." default:"5"`
	ContainerLogMaxWorkers      int           `help:"How many logs are rotated at the same time." default:"1"`
	ContainerLogMonitorInterval time.Duration `help:"How often the sizes of logs are looked at, at least 3s." default:"10s"`
	ContainerLogLinks           string        `help:"Folder of links to the logs of all containers, by which log collectors find them. Empty: none." default:"/var/log/containers" placeholder:"DIR"`
	ImageGCHigh                 int           `help:"Percent of the images' disk in use at which images that nobody uses are removed. 100 turns that off." default:"85" name:"image-gc-high-threshold-percent" aliases:"image-gc-high-threshold"`
	ImageGCLow                  int           `help:"Percent of that disk in use down to which they are removed." default:"80" name:"image-gc-low-threshold-percent" aliases:"image-gc-low-threshold"`
	ImageMinimumGCAge           time.Duration `help:"How long an image is on the node before it may be removed." default:"2m" name:"image-minimum-gc-age" aliases:"minimum-image-ttl-duration"`
	ImageMaximumGCAge           time.Duration `help:"How long an image is unused before it is removed whatever the disk has. 0 means for ever." default:"0s" name:"image-maximum-gc-age"`
}

// logs gives the settings of containers' logs.
func (f diskFlags) logs() (edged.ContainerLogs, error) {
	refuse := func(setting, format string, args ...any) (edged.ContainerLogs, error) {
		return edged.ContainerLogs{}, &program.UsageError{Setting: setting, Reason: fmt.Sprintf(format, args...)}
	}
	size, err := resource.ParseQuantity(f.ContainerLogMaxSize)
	bytes, whole := size.AsInt64()
	switch {
	case err != nil || !whole:
		return refuse("container-log-max-size", "%q: want a number of bytes, for example 10Mi", f.ContainerLogMaxSize)
	case bytes == 0:
		return refuse("container-log-max-size", "%q: a log cannot be kept within 0 bytes: give a size, or a negative one to turn rotation off", f.ContainerLogMaxSize)
	case f.ContainerLogMaxFiles < 2:
		return refuse("container-log-max-files", "%d: want at least 2, the file that is written to and one that was", f.ContainerLogMaxFiles)
	case f.ContainerLogMaxWorkers < 1:
		return refuse("container-log-max-workers", "%d: want at least 1", f.ContainerLogMaxWorkers)
	case f.ContainerLogMonitorInterval < 3*time.Second:
		return refuse("container-log-monitor-interval", "%s: want at least 3s", f.ContainerLogMonitorInterval)
	case f.ContainerLogLinks != "" && !filepath.IsAbs(f.ContainerLogLinks):
		return refuse("container-log-links", "%q: want an absolute path, or nothing for no links", f.ContainerLogLinks)
	}
	return edged.ContainerLogs{
		MaxSize: bytes, MaxFiles: f.ContainerLogMaxFiles, Workers: f.ContainerLogMaxWorkers, Interval: f.ContainerLogMonitorInterval, Links: f.ContainerLogLinks,
	}, nil
}

// images gives the settings of the collection of images.
func (f diskFlags) images() (edged.ImageGC, error) {
	refuse := func(setting, format string, args ...any) (edged.ImageGC, error) {
		return edged.ImageGC{}, &program.UsageError{Setting: setting, Reason: fmt.Sprintf(format, args...)}
	}
	minimum := f.ImageMinimumGCAge
	switch {
	case f.ImageGCHigh < 1 || f.ImageGCHigh > 100:
		return refuse("image-gc-high-threshold-percent", "%d: want 1 to 100", f.ImageGCHigh)
	case f.ImageGCLow < 1 || f.ImageGCLow >= f.ImageGCHigh:
		return refuse("image-gc-low-threshold-percent", "%d: want 1 or more, and less than --image-gc-high-threshold-percent, which is %d", f.ImageGCLow, f.ImageGCHigh)
	case minimum < 0:
		return refuse("image-minimum-gc-age", "%s: want 0 or more", minimum)
	case f.ImageMaximumGCAge < 0:
		return refuse("image-maximum-gc-age", "%s: want 0, for no maximum, or more", f.ImageMaximumGCAge)
	case f.ImageMaximumGCAge > 0 && f.ImageMaximumGCAge <= minimum:
		return refuse("image-maximum-gc-age", "%s: want more than --image-minimum-gc-age, which is %s", f.ImageMaximumGCAge, minimum)
	case minimum == 0:
		minimum = -1 // no minimum: 0 is the default there
	}
	return edged.ImageGC{HighThresholdPercent: f.ImageGCHigh, LowThresholdPercent: f.ImageGCLow, MinimumAge: minimum, MaximumAge: f.ImageMaximumGCAge}, nil
}
