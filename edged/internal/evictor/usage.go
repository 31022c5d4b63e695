package evictor

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/diskusage"
	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/runtime"
)

// withLimits gives the pods that have a limit of local storage, and whether the usage of
// writable layers counts for one.
func withLimits(pods []*corev1.Pod) (limited []*corev1.Pod, layers bool) {
	for _, p := range pods {
		has, withLayers := eviction.LimitsDisk(p)
		if has {
			limited = append(limited, p)
		}
		layers = layers || withLayers
	}
	return limited, layers
}

// errDiskHangs says that the usage of a disk could not be read.
var errDiskHangs = errors.New("evictor: the disk does not answer")

// folders lists the folders of pods.
func (e *Evictor) folders(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		f := e.cfg.Pods.Folders(p)
		for _, list := range []map[string]string{f.Volumes, f.Logs} {
			for _, dir := range list {
				out = append(out, dir)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// runtimeUsage asks the runtime what all pods use, by uid.
func (e *Evictor) runtimeUsage(ctx context.Context) (map[string]runtime.PodUsage, error) {
	out := make(map[string]runtime.PodUsage)
	if e.cfg.Usage == nil {
		return out, nil
	}
	list, err := e.cfg.Usage.PodUsage(ctx)
	if err != nil {
		if ctx.Err() == nil {
			e.log.Debug("cannot read what the pods use", "err", err)
		}
		return nil, err
	}
	for _, u := range list {
		out[u.UID] = u
	}
	return out, nil
}

// usageOf measures what pods use of what a signal is about. A pod that the runtime does
// not know of is left out, except where its folders count.
func (e *Evictor) usageOf(ctx context.Context, pods []*corev1.Pod, s eviction.Signal) (map[types.UID]eviction.Usage, error) {
	usage, err := e.runtimeUsage(ctx)
	if err != nil && !s.IsDisk() {
		return nil, err
	}
	var disk map[string]diskusage.Usage
	if s.IsDisk() {
		r, ok := e.read.do(ctx, e.cfg.Interval, e.folders(pods), filesUnderPressure)
		if !ok {
			return nil, errDiskHangs
		}
		disk = r.disk
	}
	out := make(map[types.UID]eviction.Usage)
	for _, p := range pods {
		if u, ok := usage[string(p.UID)]; ok || s.IsDisk() {
			out[p.UID] = combine(e.cfg.Pods.Folders(p), disk, u)
		}
	}
	return out, nil
}

// combine puts together what a pod's folders take and what the runtime says.
func combine(f Folders, disk map[string]diskusage.Usage, u runtime.PodUsage) eviction.Usage {
	out := eviction.Usage{Memory: u.WorkingSet, Processes: u.Processes, Volumes: make(map[string]eviction.Disk)}
	for name, dir := range f.Volumes {
		if d, ok := disk[dir]; ok {
			out.Volumes[name] = eviction.Disk(d)
		}
	}
	logs := func(name string) *eviction.Disk {
		d, ok := disk[f.Logs[name]]
		if !ok {
			return nil
		}
		return (*eviction.Disk)(&d)
	}
	running := make(map[string]bool)
	for _, c := range u.Containers {
		k := eviction.ContainerUsage{Name: c.Name, Memory: c.WorkingSet, Logs: logs(c.Name)}
		if c.Written != nil {
			k.Layer = &eviction.Disk{Bytes: *c.Written}
			if c.WrittenInodes != nil {
				k.Layer.Inodes = *c.WrittenInodes
			}
		}
		running[c.Name] = true
		out.Containers = append(out.Containers, k)
	}
	for name := range f.Logs { // of containers that the runtime says nothing of
		if l := logs(name); l != nil && !running[name] {
			out.Containers = append(out.Containers, eviction.ContainerUsage{Name: name, Logs: l})
		}
	}
	slices.SortFunc(out.Containers, func(a, b eviction.ContainerUsage) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return out
}
