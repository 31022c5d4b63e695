package devcluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/cluster/process"
)

// PauseImage is the image of pods' sandboxes.
const PauseImage = "edgekit.local/pause:1"

// containerd describes the node's container runtime. It runs in the node's
// network namespace, so that bridge and port maps are made there.
func (c *Cluster) containerd() component {
	return component{
		Spec: process.Spec{Name: "containerd", Path: c.Built("containerd"), Args: []string{"--config", c.path("containerd.toml")},
			Env:   []string{"PATH=" + filepath.Dir(c.Built("containerd-shim-runc-v2")) + ":" + os.Getenv("PATH")},
			NetNS: c.runPath("netns")},
		ready: func(ctx context.Context) error {
			return c.ctr(ctx, "version")
		},
	}
}

// RestartRuntime kills the container runtime without a word and starts it again.
// Containers do not notice.
func (c *Cluster) RestartRuntime(ctx context.Context) error {
	return c.restartRuntime(ctx, func(context.Context) error { return nil })
}

// PowerCut ends the container runtime and all containers at once, and starts
// the runtime again: what a node finds when its power is back.
func (c *Cluster) PowerCut(ctx context.Context) error {
	return c.restartRuntime(ctx, c.killCgroups)
}

func (c *Cluster) restartRuntime(ctx context.Context, meanwhile func(context.Context) error) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.table.Kill(ctx, "containerd"); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := meanwhile(ctx); err != nil {
		return err
	}
	return c.bring(ctx, c.containerd())
}

// writeRuntimeConfig writes the configuration of containerd and CNI. Every
// path is set, so that a containerd of the system never shares one.
func (c *Cluster) writeRuntimeConfig() error {
	if n := len(c.containerdSocket() + ".ttrpc"); n > 100 {
		return fmt.Errorf("devcluster: socket path %s has %d bytes; the kernel allows 107", c.containerdSocket(), n)
	}
	for _, dir := range []string{c.path("cni", "net.d"), c.path("containerd"), c.runPath("s")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("devcluster: %w", err)
		}
	}
	// Root of a pod in a user namespace must get to the root of its files.
	if err := os.Chmod(c.runPath(), 0o711); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := os.WriteFile(c.path("containerd.toml"), []byte(c.containerdConfig()), 0o600); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	if err := os.WriteFile(c.path("cni", "net.d", "10-edgekit.conflist"), []byte(c.cniConfig()), 0o600); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	return nil
}

func (c *Cluster) containerdConfig() string {
	return fmt.Sprintf(`version = 4
root = %[1]q
state = %[2]q
imports = []
disabled_plugins = [
  'io.containerd.nri.v1.nri', 'io.containerd.internal.v1.opt', 'io.containerd.image-verifier.v1.bindir',
  'io.containerd.snapshotter.v1.blockfile', 'io.containerd.snapshotter.v1.devmapper', 'io.containerd.snapshotter.v1.erofs',
  'io.containerd.snapshotter.v1.zfs', 'io.containerd.differ.v1.erofs', 'io.containerd.mount-handler.v1.erofs',
]

[plugins.'io.containerd.server.v1.grpc']
  address = %[3]q
[plugins.'io.containerd.server.v1.ttrpc']
  address = '%[4]s.ttrpc'
[plugins.'io.containerd.shim.v1.manager']
  socket_dir = %[5]q

[plugins.'io.containerd.cri.v1.images']
  snapshotter = %[6]q
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = %[7]q

[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true # root without CAP_SYS_RESOURCE may not lower it
  netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = [%[8]q]
  conf_dir = %[9]q
  use_internal_loopback = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  Root = %[10]q
  SystemdCgroup = false
# A second handler, for runtime classes.
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc2]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc2.options]
  Root = %[10]q
  SystemdCgroup = false
`, c.path("containerd"), c.runPath("containerd"), c.containerdSocket(), c.containerdSocket(), c.runPath("s"),
		snapshotter(c.cfg.Dir), PauseImage, cniFolder(), c.path("cni", "net.d"), c.runcRoot())
}

func (c *Cluster) cniConfig() string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": %q,
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": %q}]]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, c.cniNetwork(), c.runPath("ipam"), c.state.Network.Pods)
}

// cniNetwork is the name of the pods' network.
func (c *Cluster) cniNetwork() string { return "edgekit-" + c.id }

// runcRoot is where runc keeps what it knows of each container, and so where
// Down finds them without containerd.
func (c *Cluster) runcRoot() string { return c.runPath("runc") }

// snapshotter picks overlayfs, but not on top of overlayfs, which the kernel
// refuses: inside a container, files are copied instead.
func snapshotter(dir string) string {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}
