package devcluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// grace is what a program has to end by itself.
const grace = 10 * time.Second

// Down stops and removes all that belongs to the cluster, also after a crash,
// and reports whether there was anything. The cache of built programs stays.
func (c *Cluster) Down(ctx context.Context) (changed bool, err error) {
	if err := requireRoot(); err != nil {
		return false, err
	}
	unlock, err := c.lock()
	if err != nil {
		return false, err
	}
	defer unlock()
	if !exists(c.cfg.Dir) && !exists(c.runPath()) {
		return false, nil
	}
	if _, err := c.load(); err != nil {
		c.printf("  %v: going on without it", err)
	}
	var errs []error
	for _, step := range []func(context.Context) error{
		c.stopProcesses, c.deleteContainers, c.table.KillStrays, c.killCgroups, c.unmount,
		c.Network().Down, c.forgetNetworks, c.removeCgroups,
	} {
		if err := step(ctx); err != nil {
			errs = append(errs, err)
		}
	}
	if len(errs) > 0 { // the folders stay, so that Down can be called again
		return true, errors.Join(errs...)
	}
	return true, c.removeFolders()
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// stopProcesses stops every recorded program, the last started first.
func (c *Cluster) stopProcesses(ctx context.Context) error {
	all, err := c.table.List()
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	slices.Reverse(all)
	var errs []error
	for _, r := range all {
		was := r.Alive()
		if err := c.table.Stop(ctx, r.Name, grace); err != nil {
			errs = append(errs, fmt.Errorf("devcluster: %w", err))
		} else if was {
			c.printf("  %-24s stopped", r.Name)
		}
	}
	return errors.Join(errs...)
}

// deleteContainers ends the containers and removes their cgroups, through runc
// itself: that needs neither containerd nor the shims to be alive.
func (c *Cluster) deleteContainers(ctx context.Context) error {
	folders, err := filepath.Glob(filepath.Join(c.runcRoot(), "k8s.io", "*"))
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	var errs []error
	for _, dir := range folders {
		cmd := exec.CommandContext(ctx, "runc", "--root", filepath.Dir(dir), "delete", "--force", filepath.Base(dir))
		if out, err := cmd.CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("devcluster: delete container %s: %w: %s", filepath.Base(dir), err, lastPart(string(out))))
		}
	}
	if len(folders) > 0 {
		c.printf("  %-24d containers deleted", len(folders))
	}
	return errors.Join(errs...)
}

// forgetNetworks removes what CNI keeps of sandboxes outside of the cluster's
// folders: containerd has no setting for that place.
func (c *Cluster) forgetNetworks(context.Context) error {
	const cache = "/var/lib/cni/results"
	files, err := filepath.Glob(filepath.Join(cache, c.cniNetwork()+"-*"))
	if err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	var errs []error
	for _, f := range files {
		errs = append(errs, os.Remove(f))
	}
	if os.Remove(cache) == nil { // empty, so nobody's
		_ = os.Remove(filepath.Dir(cache))
	}
	return errors.Join(errs...)
}

// unmount removes every mount in the cluster's folders, innermost first. Each is
// made private first: what is unmounted inside a shared one would be unmounted
// in the user's own folders too, where pods have those by hostPath.
func (c *Cluster) unmount(context.Context) error {
	mounts, err := mountsBelow(c.cfg.Dir, c.runPath())
	if err != nil {
		return err
	}
	var errs []error
	for i, m := range slices.Backward(mounts) {
		for _, outer := range mounts[:i+1] {
			if m == outer || strings.HasPrefix(m, outer+"/") {
				_ = unix.Mount("", outer, "", unix.MS_PRIVATE, "") // one that is gone needs it no more
			}
		}
		if err := unix.Unmount(m, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			errs = append(errs, fmt.Errorf("devcluster: unmount %s: %w", m, err))
		}
	}
	return errors.Join(errs...)
}

// mountsBelow lists mount points in the folders in the order in which they
// were mounted.
func mountsBelow(folders ...string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	defer f.Close()
	return parseMounts(f, folders)
}

// parseMounts reads /proc/self/mountinfo: the mount point is the fifth field,
// with blanks and backslashes in octal.
func parseMounts(r io.Reader, folders []string) ([]string, error) {
	unescape := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	var found []string
	s := bufio.NewScanner(r)
	for s.Scan() {
		fields := strings.Fields(s.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if slices.ContainsFunc(folders, func(dir string) bool { return strings.HasPrefix(point, dir+"/") }) {
			found = append(found, point)
		}
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("devcluster: %w", err)
	}
	return found, nil
}

// removeFolders removes the cluster's two folders, but not through a mount
// that could not be removed: what is mounted may be the user's own.
func (c *Cluster) removeFolders() error {
	left, err := mountsBelow(c.cfg.Dir, c.runPath())
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("devcluster: %s is still mounted, so %s stays", left[0], c.cfg.Dir)
	}
	if err := errors.Join(os.RemoveAll(c.runPath()), os.RemoveAll(c.cfg.Dir)); err != nil {
		return fmt.Errorf("devcluster: %w", err)
	}
	return nil
}
