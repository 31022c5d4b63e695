package volume

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

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

// mountsAt lists the mount points at path and inside it, deepest first. full is
// the path without links in the folders above it, as they have it.
func mountsAt(path string) (full string, points []string, err error) {
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
		if m == full || strings.HasPrefix(m, full+"/") {
			points = append(points, m)
		}
	}
	slices.Reverse(points) // later mounts lie on or in earlier ones
	return full, points, nil
}

// unmountAll unmounts the mount points of a list, deepest first. It touches
// what the agent and its pods mounted, never the originals: an unmount spreads
// from a shared mount to all of its peers, so that each mount is made private
// before anything inside it is unmounted.
func unmountAll(points []string) error {
	for _, p := range points {
		for _, outer := range points {
			if p != outer && !strings.HasPrefix(p, outer+"/") {
				continue
			}
			if err := isolate(outer); err != nil {
				return fmt.Errorf("make %s private: %w", outer, err)
			}
		}
		if err := unmount(p); err != nil {
			return fmt.Errorf("unmount %s: %w", p, err)
		}
	}
	return nil
}

// parseMountInfo reads the mount points, the fifth field of each line of
// proc_pid_mountinfo(5), in the order in which they were mounted.
func parseMountInfo(r io.Reader) ([]string, error) {
	var out []string
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			return nil, fmt.Errorf("mountinfo line %q has too few fields", lines.Text())
		}
		out = append(out, unescape(fields[4]))
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
	if err := validUID(uid); err != nil {
		return err
	}
	dir := m.PodDir(uid)
	full, mounts, err := mountsAt(dir)
	if err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if slices.Contains(mounts, full) {
		return fmt.Errorf("volume: %s is a mount that the agent did not make: unmount it", full)
	}
	if err := unmountAll(mounts); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if _, mounts, err = mountsAt(dir); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	if len(mounts) > 0 {
		return fmt.Errorf("volume: still mounted: %v", mounts)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("volume: %w", err)
	}
	return nil
}
