package devcluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Traces lists what pods have on the machine outside of their agent's folders: mounts,
// cgroups, what containerd and runc know, shims, network interfaces and addresses. With no
// pods it lists what the cluster itself has, which does not change.
func (c *Cluster) Traces(ctx context.Context) ([]string, error) {
	if err := c.Attach(); err != nil {
		return nil, err
	}
	mounts, err := mountsBelow(c.cfg.Dir, c.runPath())
	if err != nil {
		return nil, err
	}
	cgroups, err := c.cgroups()
	if err != nil {
		return nil, err
	}
	all := slices.Concat(tagged("mount ", mounts), tagged("cgroup ", cgroups))
	for _, pattern := range []string{
		filepath.Join(c.runcRoot(), "k8s.io", "*"),
		filepath.Join(c.runPath("ipam"), c.cniNetwork(), "[0-9]*"), // one file for each address
		filepath.Join("/var/lib/cni/results", c.cniNetwork()+"-*"),
	} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			return nil, fmt.Errorf("devcluster: %w", err)
		}
		all = append(all, found...)
	}
	links, err := exec.CommandContext(ctx, "nsenter", "--net="+c.runPath("netns"), "ip", "-brief", "link", "show", "type", "veth").Output()
	if err != nil {
		return nil, fmt.Errorf("devcluster: list interfaces: %w", err)
	}
	for line := range strings.Lines(string(links)) {
		if f := strings.Fields(line); len(f) > 0 {
			all = append(all, "interface "+f[0])
		}
	}
	for kind, args := range map[string][]string{
		"container ": {"containers", "list", "-q"}, "sandbox ": {"sandboxes", "list"}, "snapshot ": {"snapshots", "--snapshotter", snapshotter(c.cfg.Dir), "list"},
	} {
		out, err := c.ctrCommand(ctx, args...).Output()
		if err != nil {
			return nil, fmt.Errorf("devcluster: ctr %s: %w", args[0], err)
		}
		for line := range strings.Lines(string(out)) {
			if f := strings.Fields(line); len(f) > 0 {
				all = append(all, kind+f[0])
			}
		}
	}
	return append(all, c.shims()...), nil
}

func tagged(tag string, all []string) []string {
	for i := range all {
		all[i] = tag + all[i]
	}
	return all
}

// shims lists the processes that hold a sandbox's containers.
func (c *Cluster) shims() (all []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well formed
	for _, f := range files {
		line, err := os.ReadFile(f)
		if err != nil {
			continue // the process has ended
		}
		args := strings.Split(string(line), "\x00")
		if filepath.Base(args[0]) == "containerd-shim-runc-v2" && slices.Contains(args, c.containerdSocket()) {
			if i := slices.Index(args, "-id"); i >= 0 && i+1 < len(args) {
				all = append(all, "shim "+args[i+1])
			}
		}
	}
	return all
}
