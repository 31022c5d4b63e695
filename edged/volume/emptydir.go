package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// emptyDir makes the folder of an emptyDir volume, once: mode, owner and
// content are the pod's from then on. A kubelet gives the same mode and owner.
func (s *setup) emptyDir(e *corev1.EmptyDirVolumeSource, dir string) error {
	mode, group := fs.FileMode(0o777), s.group()
	if group != nil {
		mode |= fs.ModeSetgid
	}
	if e.Medium == corev1.StorageMediumDefault {
		return makeOwned(dir, mode, group)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	if e.Medium == corev1.StorageMediumMemory {
		mode |= fs.ModeSticky // which a tmpfs has, and a kubelet leaves
		options := "size=" + strconv.FormatInt(s.memorySize(e), 10) + "," + ownerOptions(mode, group)
		if err := mountMemory(dir, "tmpfs", options); err != nil {
			return fmt.Errorf("tmpfs: %w", err)
		}
		return nil
	}
	size, err := pageSize(string(e.Medium), s.pod)
	if err != nil {
		return err
	}
	if err := mountMemory(dir, "hugetlbfs", "pagesize="+size+","+ownerOptions(mode, group)); err != nil {
		return fmt.Errorf("hugetlbfs: %w", err)
	}
	return keepGroup(dir, group)
}

// ownerOptions gives a memory file system its mode and group with the mount, so
// that there is no moment at which it has others.
func ownerOptions(mode fs.FileMode, group *int64) string {
	bits := uint64(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	options := "mode=" + strconv.FormatUint(bits, 8)
	if group != nil {
		options += ",gid=" + strconv.FormatInt(*group, 10)
	}
	return options
}

// keepGroup has new files in a folder that all may write belong to the group:
// hugetlbfs leaves that bit out of its option mode. A folder whose mode the pod
// changed is left alone.
func keepGroup(dir string, group *int64) error {
	if group == nil {
		return nil
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o777 || info.Mode()&fs.ModeSetgid != 0 {
		return err
	}
	return os.Chmod(dir, info.Mode()|fs.ModeSetgid)
}

// makeOwned makes a folder with its mode, against the umask, and its group,
// unless it is there. It gets its name last: a folder of that name is complete,
// whatever a crash or a failed call cut off.
func makeOwned(dir string, mode fs.FileMode, group *int64) error {
	switch half, err := halfMade(dir); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case half:
		return giveAway(dir, mode, group)
	default:
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	fresh := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)) // no volume has such a name
	if err := os.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Mkdir(fresh, 0o700); err != nil {
		return err
	}
	if err := giveAway(fresh, mode, group); err != nil {
		return err
	}
	return os.Rename(fresh, dir)
}

// halfMade reports whether a folder is as an agent left it that made it under
// its own name and was cut off: empty, and of the mode that it had first.
func halfMade(dir string) (bool, error) {
	info, err := os.Lstat(dir)
	if err != nil || info.Mode().Perm() != 0o750 {
		return false, err
	}
	entries, err := os.ReadDir(dir)
	return err == nil && len(entries) == 0, err
}

// giveAway sets a folder's group and mode. The group comes first: a change of
// owners clears bits of the mode.
func giveAway(dir string, mode fs.FileMode, group *int64) error {
	if group != nil {
		if err := os.Chown(dir, -1, int(*group)); err != nil {
			return err
		}
	}
	return os.Chmod(dir, mode)
}

// memorySize bounds a tmpfs: by its own limit, by what the pod's containers may
// use together, by what the node has.
func (s *setup) memorySize(e *corev1.EmptyDirVolumeSource) int64 {
	size := s.allocatable[corev1.ResourceMemory]
	limit := resource.Quantity{}
	bounded := len(s.pod.Spec.Containers) > 0
	for _, c := range s.pod.Spec.Containers {
		q, ok := c.Resources.Limits[corev1.ResourceMemory]
		bounded = bounded && ok && !q.IsZero()
		limit.Add(q)
	}
	if bounded && (size.IsZero() || limit.Cmp(size) < 0) {
		size = limit
	}
	if l := e.SizeLimit; l != nil && !l.IsZero() && (size.IsZero() || l.Cmp(size) < 0) {
		size = *l
	}
	return size.Value()
}
