package volume

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// mountMemory mounts a memory file system on dir, once.
func mountMemory(dir, fstype, options string) error {
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	return mountFS(dir, fstype, options)
}

// secretMemory mounts memory that is never swapped on dir, once; of a kernel
// before 6.4, which does not know noswap, memory that may be. A program that may
// not mount uses the folder as it is, and says so.
func (m *Manager) secretMemory(dir string) error {
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	options := "noswap"
	if m.swappable.Load() {
		options = ""
	}
	err = m.mount(dir, "tmpfs", options)
	if errors.Is(err, syscall.EINVAL) && options != "" {
		m.swappable.Store(true) // each refusal is a line in the kernel's log
		err = m.mount(dir, "tmpfs", "")
	}
	if errors.Is(err, fs.ErrPermission) {
		m.onDisk.Do(func() {
			m.cfg.Logger.Error("secrets are written to disk: this program may not mount a tmpfs; run it as root, or give it CAP_SYS_ADMIN", "dir", dir, "err", err)
			m.cfg.OnDisk(err)
		})
		return nil
	}
	return err
}

// pageSize is the size of huge pages that an emptyDir medium asks for: its own
// or, for plain "HugePages", the only one that the pod's containers use.
func pageSize(medium string, pod *corev1.Pod) (string, error) {
	text, ok := strings.CutPrefix(medium, string(corev1.StorageMediumHugePagesPrefix))
	if !ok {
		if medium != string(corev1.StorageMediumHugePages) {
			return "", fmt.Errorf("medium %q is not known", medium)
		}
		for _, c := range pod.Spec.Containers {
			for name := range c.Resources.Requests {
				if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
					if text != "" && text != size {
						return "", errors.New("the pod uses huge pages of several sizes: the medium must say which, as HugePages-2Mi")
					}
					text = size
				}
			}
		}
	}
	q, err := resource.ParseQuantity(text)
	if err != nil {
		return "", fmt.Errorf("medium %q has no page size: %w", medium, err)
	}
	return q.String(), nil
}

// mountPoint is a mount as the kernel lists it.
type mountPoint struct{ path, fstype string }

// networked reports whether the file system is one of a server: whatever looks at it
// may wait for that.
func (p mountPoint) networked() bool {
	switch p.fstype {
	case "nfs", "nfs4", "cifs", "smb3", "ceph", "9p":
		return true
	}
	return false
}

// mountsAt lists the mount points at path and inside it, deepest first. full is
// the path without links in the folders above it, as they have it.
func mountsAt(path string) (full string, points []mountPoint, err error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	all, err := parseMountInfo(f)
	if err != nil {
		return "", nil, err
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return path, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	full = filepath.Join(dir, filepath.Base(path))
	for _, m := range all {
		if m.path == full || strings.HasPrefix(m.path, full+"/") {
			points = append(points, m)
		}
	}
	slices.Reverse(points) // later mounts lie on or in earlier ones
	return full, points, nil
}

// unmountAll unmounts the mount points of a list, deepest first. It touches
// what the agent and its pods mounted, never the originals: an unmount spreads
// from a shared mount to all of its peers, so that each mount is made private
// before anything inside it is unmounted. What is mounted from a server, which may
// be away, is not looked at, and unmounted by a program that can be ended.
func (m *Manager) unmountAll(ctx context.Context, points []mountPoint) error {
	for _, p := range points {
		for _, outer := range points {
			if p != outer && !strings.HasPrefix(p.path, outer.path+"/") || p == outer && p.networked() {
				continue
			}
			if err := isolate(outer.path); err != nil {
				return fmt.Errorf("make %s private: %w", outer.path, err)
			}
		}
		var err error
		if p.networked() {
			err = m.helper.Unmount(ctx, p.path)
		} else {
			err = unmount(p.path)
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", p.path, err)
		}
	}
	return nil
}

// parseMountInfo reads the mount points, the fifth field of each line of
// proc_pid_mountinfo(5), in the order in which they were mounted. The type of the file
// system is the field after the lone hyphen.
func parseMountInfo(r io.Reader) ([]mountPoint, error) {
	var out []mountPoint
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			return nil, fmt.Errorf("mountinfo line %q has too few fields", lines.Text())
		}
		p := mountPoint{path: unescape(fields[4])}
		if i := slices.Index(fields, "-"); i >= 0 && i+1 < len(fields) {
			p.fstype = fields[i+1]
		}
		out = append(out, p)
	}
	return out, lines.Err()
}

// unescape undoes the octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }

// TearDown unmounts and removes all that was made for a pod. What other mounts
// lead to is never removed, and the host's own mounts stay where they are: if
// something cannot be unmounted, or is mounted on the pod's folder itself,
// nothing is removed and the error says what. A pod that has nothing is no error.
func (m *Manager) TearDown(uid string) error {
	// For callers that have no context: each call that may take long is bounded.
	ctx, cancel := context.WithTimeout(context.Background(), tearDownLimit)
	defer cancel()
	return m.TearDownPod(ctx, uid)
}

// tearDownLimit is how long TearDown may take.
const tearDownLimit = 5 * time.Minute

// TearDownPod is TearDown with a context, which ends what waits for a server.
func (m *Manager) TearDownPod(ctx context.Context, uid string) error {
	if err := validUID(uid); err != nil {
		return err
	}
	dir := m.PodDir(uid)
	full, mounts, err := mountsAt(dir)
	if err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if slices.ContainsFunc(mounts, func(p mountPoint) bool { return p.path == full }) {
		return fmt.Errorf("volume: %s is a mount that the agent did not make: unmount it", full)
	}
	// Binds of the agent first; then drivers unmount what they mounted, and the rest goes.
	subPaths := filepath.Join(full, "volume-subpaths")
	binds := slices.DeleteFunc(slices.Clone(mounts), func(p mountPoint) bool { return !strings.HasPrefix(p.path, subPaths+"/") })
	if err := m.unmountAll(ctx, binds); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if err := m.csiTearDown(ctx, uid); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if _, mounts, err = mountsAt(dir); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	began := time.Now()
	err = m.unmountAll(ctx, mounts)
	for _, p := range mounts {
		m.cfg.Worked(pluginAt(full, p.path), "volume_unmount", err, time.Since(began))
	}
	if err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if _, mounts, err = mountsAt(dir); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("volume: still mounted: %v", mounts)
	}
	if err := removeTree(dir); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	m.usages.drop(uid)
	if m.inUse.drop(uid) {
		m.cfg.InUseChanged()
	}
	return nil
}

// removeTree removes a folder and what is in it, but nothing that is mounted on or in
// it: a mount that appears while it works, of a helper or driver that was thought to
// have given up, ends it with an error.
func removeTree(dir string) error {
	parent, err := os.OpenFile(filepath.Dir(dir), openPlace, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	mount, err := mountID(parent)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return err
	}
	defer root.Close()
	return removeIn(root, filepath.Base(dir), mount)
}

// removeIn removes a name in an open folder, as long as it is of the mount.
func removeIn(in *os.Root, name, mount string) error {
	info, err := in.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() {
		if err := emptyFolder(in, name, mount); err != nil {
			return err
		}
	}
	// The kernel removes no name that something is mounted on.
	if err := in.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// emptyFolder removes what is in a folder. It is opened once: what is mounted on its
// name after that is not what is emptied.
func emptyFolder(in *os.Root, name, mount string) error {
	root, err := in.OpenRoot(name)
	if err != nil {
		return err
	}
	defer root.Close()
	f, err := root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	if here, err := mountID(f); err != nil {
		return err
	} else if here != mount {
		return fmt.Errorf("%s was mounted meanwhile: it is not emptied", name)
	}
	for {
		entries, err := f.ReadDir(256)
		for _, e := range entries {
			if err := removeIn(root, e.Name(), mount); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
