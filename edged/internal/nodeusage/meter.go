package nodeusage

import (
	"context"
	"log/slog"
	"time"

	"github.com/edgekit/edgekit/edged/internal/eviction"
	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/runtime"
)

// askAgain is how often the runtime is asked where its file systems are.
const askAgain = 10 * time.Minute

// FileSystems says where the runtime keeps images and what containers write; a
// [runtime.ImageStore] does.
type FileSystems interface {
	ImageFilesystems(ctx context.Context) (images, containers []runtime.Filesystem, err error)
}

// Config sets up a Meter. Root is required.
type Config struct {
	Root    string      // folder of the pods' volumes: its file system is nodefs
	Runtime FileSystems // says where imagefs is; nil means on nodefs
	// PodsGroup is the cgroup of all pods together, such as /kubepods; nil or "" means
	// that there is none. It counts where it has a limit of memory.
	PodsGroup func() string
	Proc      string       // where proc is mounted; "" means /proc
	Cgroups   string       // where the cgroup file systems are; "" means /sys/fs/cgroup
	Logger    *slog.Logger // nil discards
}

// Meter measures. See the package comment.
type Meter struct {
	cfg Config

	images, layers string // folders, as the runtime last said
	asked          time.Time
	silent         bool // that it did not say was logged
}

// Reading is what was measured. What could not be read is not in it.
type Reading struct {
	Seen   eviction.Observations
	Layout eviction.Layout
}

// New makes a Meter. It does no I/O.
func New(cfg Config) *Meter {
	if cfg.Proc == "" {
		cfg.Proc = "/proc"
	}
	if cfg.Cgroups == "" {
		cfg.Cgroups = "/sys/fs/cgroup"
	}
	if cfg.PodsGroup == nil {
		cfg.PodsGroup = func() string { return "" }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Meter{cfg: cfg}
}

// Read measures everything now.
func (m *Meter) Read(ctx context.Context) Reading {
	r := Reading{Seen: make(eviction.Observations)}
	m.readMemory(r.Seen)
	m.readProcesses(r.Seen)
	m.findFileSystems(ctx)
	root, err := hostinfo.NearestSpace(m.cfg.Root)
	if err != nil {
		m.cfg.Logger.Debug("cannot read the room on the disk of the pods", "dir", m.cfg.Root, "err", err)
		return r
	}
	note(r.Seen, root, eviction.NodeFsAvailable, eviction.NodeFsInodesFree)
	images := root
	if m.images != "" {
		if images, err = hostinfo.NearestSpace(m.images); err != nil {
			m.cfg.Logger.Debug("cannot read the room on the disk of the images", "dir", m.images, "err", err)
			return r
		}
		note(r.Seen, images, eviction.ImageFsAvailable, eviction.ImageFsInodesFree)
	}
	r.Layout.Images = images.Device != root.Device
	if m.layers == "" || !r.Layout.Images {
		return r
	}
	if layers, err := hostinfo.NearestSpace(m.layers); err == nil && layers.Device != images.Device {
		r.Layout.Split = true
		note(r.Seen, layers, eviction.ContainerFsAvailable, eviction.ContainerFsInodesFree)
	}
	return r
}

// findFileSystems asks the runtime where its file systems are, now and then. While it
// does not answer, what it said last counts.
func (m *Meter) findFileSystems(ctx context.Context) {
	if m.cfg.Runtime == nil || !m.asked.IsZero() && time.Since(m.asked) < askAgain {
		return
	}
	images, layers, err := m.cfg.Runtime.ImageFilesystems(ctx)
	if err != nil {
		if !m.silent && ctx.Err() == nil {
			m.cfg.Logger.Info("the container runtime does not say where its images are; their disk is not watched", "err", err)
			m.silent = true
		}
		return
	}
	m.images, m.layers, m.asked, m.silent = first(images), first(layers), time.Now(), false
}

// first is a folder of the first file system, which is the one that counts for a kubelet;
// "" without any.
func first(all []runtime.Filesystem) string {
	if len(all) == 0 {
		return ""
	}
	return all[0].Mountpoint
}

// note records what is left on a file system. Some make inodes as needed and count none.
func note(seen eviction.Observations, s hostinfo.Space, room, inodes eviction.Signal) {
	if s.Total > 0 {
		seen[room] = eviction.Observation{Available: s.Free, Capacity: s.Total}
	}
	if s.Inodes > 0 {
		seen[inodes] = eviction.Observation{Available: s.InodesFree, Capacity: s.Inodes}
	}
}
