package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// CgroupRoot is where the node's agent should make the cgroups of pods, so
// that Down can end and remove what a killed agent leaves.
func (c *Cluster) CgroupRoot() string { return "/edgekit-" + c.id }

// cgroups lists the folders of the tree below CgroupRoot, parents first, in
// every hierarchy: one with cgroup v2, one for each controller with v1.
func (c *Cluster) cgroups() ([]string, error) {
	const mount = "/sys/fs/cgroup"
	roots, err := filepath.Glob(filepath.Join(mount, "*", c.CgroupRoot()))
	if err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	var dirs []string
	for _, root := range append(roots, filepath.Join(mount, c.CgroupRoot())) {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("devcluster: cgroups: %w", err)
		}
	}
	return dirs, nil
}

// killCgroups ends the processes of pods that runc does not know any more: it
// may have lost its record of them in a crash.
func (c *Cluster) killCgroups(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		dirs, err := c.cgroups()
		if err != nil {
			return err
		}
		left := 0
		for _, dir := range dirs {
			procs, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs")) // a folder that is gone has none
			for pid := range strings.FieldsSeq(string(procs)) {
				left++
				if n, err := strconv.Atoi(pid); err == nil && n > 1 {
					_ = unix.Kill(n, unix.SIGKILL) // gone already, or seen in the next round
				}
			}
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("devcluster: processes in the cgroup %s do not end: %w", c.CgroupRoot(), context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// removeCgroups removes the tree below CgroupRoot, innermost first.
func (c *Cluster) removeCgroups(context.Context) error {
	dirs, err := c.cgroups()
	if err != nil {
		return err
	}
	for _, dir := range slices.Backward(dirs) {
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("devcluster: cgroups: %w", err)
		}
	}
	return nil
}
