package stats

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Disk is what something takes of a disk.
type Disk struct{ Bytes, Inodes uint64 }

// DiskUsage is what a pod takes of the node's disk: its volumes and the logs of its containers, each
// by name.
type DiskUsage struct{ Volumes, Logs map[string]Disk }

// disks is what the disks of the node have and what pods take of them.
type disks struct {
	at             metav1.Time
	root           *hostinfo.Space // of volumes and logs
	images, layers *hostinfo.Space // of images, and of what containers write
	imagesUsed     runtime.Filesystem
	layersUsed     runtime.Filesystem
	pods           map[string]DiskUsage // by uid
}

// readDisks reads what the disks have. What cannot be read is left out.
func (s *Stats) readDisks(ctx context.Context) disks {
	d := disks{at: metav1.NewTime(time.Now())}
	if s.cfg.Root != "" {
		d.root = spaceOf(s.cfg.Root)
	}
	if store, ok := s.cfg.Containers.(runtime.ImageStore); ok {
		images, layers, err := store.ImageFilesystems(ctx)
		if err == nil && len(images) > 0 {
			d.imagesUsed, d.images = images[0], spaceOf(images[0].Mountpoint)
			d.layersUsed, d.layers = d.imagesUsed, d.images // a runtime before the split file systems (KEP-4191) says no more
		}
		if err == nil && len(layers) > 0 {
			d.layersUsed, d.layers = layers[0], spaceOf(layers[0].Mountpoint)
		}
	}
	if s.cfg.DiskUsage != nil {
		d.pods = s.cfg.DiskUsage(ctx)
	}
	return d
}

func spaceOf(dir string) *hostinfo.Space {
	s, err := hostinfo.NearestSpace(dir)
	if err != nil {
		return nil
	}
	return &s
}

// on is the state of a file system of which so much is used by what is asked for; nil is all that is
// used on it.
func (d disks) on(s *hostinfo.Space, used *Disk) *statsapi.FsStats {
	if s == nil {
		if used == nil {
			return nil
		}
		return &statsapi.FsStats{Time: d.at, UsedBytes: &used.Bytes, InodesUsed: &used.Inodes}
	}
	total, free := uint64(max(s.Total, 0)), uint64(max(s.Free, 0))
	out := &statsapi.FsStats{Time: d.at, CapacityBytes: &total, AvailableBytes: &free}
	if used == nil {
		used = &Disk{Bytes: total - min(free, total), Inodes: uint64(max(s.Inodes-s.InodesFree, 0))}
	}
	out.UsedBytes = &used.Bytes
	if s.Inodes > 0 {
		inodes, inodesFree := uint64(s.Inodes), uint64(max(s.InodesFree, 0))
		out.Inodes, out.InodesFree, out.InodesUsed = &inodes, &inodesFree, &used.Inodes
	}
	return out
}

// ofNode adds the file systems of the node.
func (d disks) ofNode(n *statsapi.NodeStats) {
	n.Fs = d.on(d.root, nil)
	if d.images != nil {
		n.Runtime = &statsapi.RuntimeStats{
			ImageFs:     d.on(d.images, &Disk{d.imagesUsed.UsedBytes, d.imagesUsed.UsedInodes}),
			ContainerFs: d.on(d.layers, &Disk{d.layersUsed.UsedBytes, d.layersUsed.UsedInodes}),
		}
	}
}

// ofPod adds what a pod takes of the disks: each container's writable layer and logs, its volumes,
// and the sum, which is what a limit of ephemeral storage counts.
func (d disks) ofPod(out *statsapi.PodStats, pod *corev1.Pod) {
	var sum Disk
	add := func(n Disk) { sum.Bytes, sum.Inodes = sum.Bytes+n.Bytes, sum.Inodes+n.Inodes }
	usage := d.pods[out.PodRef.UID]
	for i := range out.Containers {
		c := &out.Containers[i]
		if c.Rootfs != nil && c.Rootfs.UsedBytes != nil {
			layer := Disk{Bytes: *c.Rootfs.UsedBytes}
			if c.Rootfs.InodesUsed != nil {
				layer.Inodes = *c.Rootfs.InodesUsed
			}
			add(layer)
			c.Rootfs = d.on(d.layers, &layer)
		}
		if logs, ok := usage.Logs[c.Name]; ok {
			add(logs)
			c.Logs = d.on(d.root, &logs)
		}
	}
	for i := range pod.Spec.Volumes {
		name := pod.Spec.Volumes[i].Name
		if used, ok := usage.Volumes[name]; ok {
			add(used)
			out.VolumeStats = append(out.VolumeStats, statsapi.VolumeStats{Name: name, FsStats: *d.on(d.root, &used)})
		}
	}
	if d.pods != nil {
		out.EphemeralStorage = d.on(d.root, &sum)
	}
}
