package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// rebindLimit is how long it may take to unmount what a container was given before.
const rebindLimit = time.Minute

// Use is one mount of a volume in a container.
type Use struct {
	Container string // name of the container
	Index     int    // of the mount in the container
	Volume    string // name of the volume
	SubPath   string // path inside the volume, expanded
	ReadOnly  bool
}

// SubPath opens a path inside a volume for a container and returns a host path
// that leads to just that, whatever the pod does to the volume meanwhile: the
// file or folder is resolved without leaving the volume, held open, and bound
// to a path of its own. What is not there is made as a folder. What the host
// has mounted inside the folder is not shown, as with a kubelet, and is safe
// from what happens at that path. It needs root.
func (m *Manager) SubPath(pod *corev1.Pod, use Use) (string, error) {
	base, err := m.Path(pod, use.Volume)
	if err != nil {
		return "", err
	}
	if !filepath.IsLocal(use.SubPath) {
		return "", fmt.Errorf("volume: subPath %q must be a path inside the volume, without \"..\"", use.SubPath)
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		return "", fmt.Errorf("volume: subPath of %q: %w", use.Volume, err)
	}
	defer root.Close()
	if _, err := root.Stat(use.SubPath); errors.Is(err, fs.ErrNotExist) {
		if err := makeFolders(root, use.SubPath, string(pod.UID)); err != nil {
			return "", fmt.Errorf("volume: subPath %q: %w", use.SubPath, err)
		}
	}
	f, info, err := openBeneath(root, use.SubPath)
	if err != nil {
		return "", fmt.Errorf("volume: subPath %q: %w", use.SubPath, err)
	}
	defer f.Close()
	target := filepath.Join(m.PodDir(string(pod.UID)), "volume-subpaths", use.Volume, use.Container, strconv.Itoa(use.Index))
	if err := m.bind(f, info.IsDir(), target); err != nil {
		return "", fmt.Errorf("volume: subPath %q: %w", use.SubPath, err)
	}
	return target, nil
}

// openBeneath opens a path, for its place only, and follows links as long as
// they stay inside the root. With O_PATH the last link is not followed by
// itself: nothing is opened that would act when it is opened.
func openBeneath(root *os.Root, path string) (*os.File, fs.FileInfo, error) {
	for range maxLinks {
		f, err := root.OpenFile(path, openPlace, 0)
		if err != nil {
			return nil, nil, err
		}
		info, err := f.Stat()
		if err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return f, info, nil
		}
		f.Close()
		if err != nil {
			return nil, nil, err
		}
		target, err := root.Readlink(path)
		if err != nil {
			return nil, nil, err
		}
		if filepath.IsAbs(target) {
			return nil, nil, fmt.Errorf("%s is a link to %s, outside the volume", path, target)
		}
		path = filepath.Join(filepath.Dir(path), target)
	}
	return nil, nil, syscall.ELOOP
}

// makeFolders makes a folder and those above it, with the mode and owners that
// the volume has. Each gets its name last, so that one that is there is
// complete.
func makeFolders(root *os.Root, path, uid string) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetgid | fs.ModeSticky)
	for p := range parents(path + "/") {
		if _, err := root.Lstat(p); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		fresh := filepath.Join(filepath.Dir(p), ".subpath-"+uid)
		if err := root.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := root.Mkdir(fresh, 0o700); err != nil {
			return err
		}
		if err := root.Chmod(fresh, mode); err != nil {
			return err
		}
		if err := root.Rename(fresh, p); err != nil {
			if _, there := root.Lstat(p); there != nil {
				return err
			} // a container of the pod made it meanwhile
			if err := root.Remove(fresh); err != nil {
				return err
			}
		}
	}
	return nil
}

// bind mounts an open file or folder on target, in place of what was there.
func (m *Manager) bind(f *os.File, dir bool, target string) error {
	_, mounts, err := mountsAt(target)
	if err != nil {
		return err
	}
	// A bind of this kind is never the last mount of its file system: it ends at once.
	ctx, cancel := context.WithTimeout(context.Background(), rebindLimit)
	defer cancel()
	if err := m.unmountAll(ctx, mounts); err != nil {
		return err
	}
	if err := os.Remove(target); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	if dir {
		if err := os.Mkdir(target, 0o750); err != nil {
			return err
		}
	} else if err := os.WriteFile(target, nil, 0o640); err != nil {
		return err
	}
	return mountFile(f, target)
}
