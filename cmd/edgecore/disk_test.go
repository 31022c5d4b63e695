package main

import (
	"errors"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

func TestDiskFlags(t *testing.T) {
	good := diskFlags{
		ContainerLogMaxSize: "10Mi", ContainerLogMaxFiles: 5, ContainerLogMaxWorkers: 1, ContainerLogMonitorInterval: 10 * time.Second, ContainerLogLinks: "/var/log/containers",
		ImageGCHigh: 85, ImageGCLow: 80, ImageMinimumGCAge: 2 * time.Minute,
	}
	logs, err := good.logs()
	if want := (edged.ContainerLogs{MaxSize: 10 << 20, MaxFiles: 5, Workers: 1, Interval: 10 * time.Second, Links: "/var/log/containers"}); err != nil || logs != want {
		t.Errorf("%+v %v", logs, err)
	}
	images, err := good.images()
	if err != nil || images.HighThresholdPercent != 85 || images.LowThresholdPercent != 80 || images.MinimumAge != 2*time.Minute || images.MaximumAge != 0 {
		t.Errorf("%+v %v", images, err)
	}
	off := good
	off.ContainerLogMaxSize, off.ContainerLogLinks, off.ImageMinimumGCAge, off.ImageGCHigh = "-1", "", 0, 100
	logs, err = off.logs()
	images, err2 := off.images()
	if err := errors.Join(err, err2); err != nil || logs.MaxSize >= 0 || images.MinimumAge >= 0 {
		t.Errorf("%+v %+v %v", logs, images, err)
	}
	for setting, edits := range map[string][]func(*diskFlags){
		"container-log-max-size": {
			func(f *diskFlags) { f.ContainerLogMaxSize = "ten" }, func(f *diskFlags) { f.ContainerLogMaxSize = "0" }, func(f *diskFlags) { f.ContainerLogMaxSize = "" },
		},
		"container-log-max-files":         {func(f *diskFlags) { f.ContainerLogMaxFiles = 1 }},
		"container-log-max-workers":       {func(f *diskFlags) { f.ContainerLogMaxWorkers = 0 }},
		"container-log-monitor-interval":  {func(f *diskFlags) { f.ContainerLogMonitorInterval = time.Second }},
		"container-log-links":             {func(f *diskFlags) { f.ContainerLogLinks = "links" }},
		"image-gc-high-threshold-percent": {func(f *diskFlags) { f.ImageGCHigh = 101 }, func(f *diskFlags) { f.ImageGCHigh = 0 }},
		"image-gc-low-threshold-percent":  {func(f *diskFlags) { f.ImageGCLow = 85 }, func(f *diskFlags) { f.ImageGCLow = 0 }},
		"image-minimum-gc-age":            {func(f *diskFlags) { f.ImageMinimumGCAge = -1 }},
		"image-maximum-gc-age":            {func(f *diskFlags) { f.ImageMaximumGCAge = time.Minute }, func(f *diskFlags) { f.ImageMaximumGCAge = -1 }},
	} {
		for _, edit := range edits {
			f := good
			edit(&f)
			_, err := f.logs()
			_, err2 := f.images()
			if usage, ok := errors.AsType[*program.UsageError](errors.Join(err, err2)); !ok || usage.Setting != setting {
				t.Errorf("%s: %v %v", setting, err, err2)
			}
		}
	}
}
