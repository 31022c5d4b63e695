package devcluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// CgroupRoot is where the node's agent should make the cgroups of pods, so
// that Down can remove what a killed agent leaves.
func (c *Cluster) CgroupRoot() string { return "/edgekit-" + c.id }

// removeCgroups removes the tree below CgroupRoot, of every controller with
// cgroup v1. The kernel keeps a cgroup that still holds a process.
func (c *Cluster) removeCgroups(context.Context) error {
	const mount = "/sys/fs/cgroup"
	roots, err := filepath.Glob(filepath.Join(mount, "*", c.CgroupRoot()))
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	var errs []error
	for _, root := range append(roots, filepath.Join(mount, c.CgroupRoot())) {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		})
		for _, dir := range slices.Backward(dirs) {
			err = errors.Join(err, os.Remove(dir))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("devcluster: cgroups: %w", err))
		}
	}
	return errors.Join(errs...)
}
