package volume

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// openPlace opens a file for its place only.
const openPlace = unix.O_PATH

func mountFS(dir, fstype, options string) error {
	return unix.Mount(fstype, dir, fstype, unix.MS_NOSUID|unix.MS_NODEV, options)
}

// mountFile shows an open file or folder at target, without what is mounted
// inside it. The mount is a slave: mounts that the host makes inside the folder
// later are seen, and nothing that happens to the copy reaches the original.
// See mount_namespaces(7).
func mountFile(f *os.File, target string) error {
	if err := unix.Mount("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), target, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	// Recursive: what was mounted since the bind is a peer of the original too.
	if err := unix.Mount("", target, "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return errors.Join(err, isolate(target), unmount(target))
	}
	return nil
}

// isolate ends the propagation between a mount and its copies, both ways. What
// is unmounted inside it then stays mounted everywhere else.
func isolate(path string) error {
	err := unix.Mount("", path, "", unix.MS_PRIVATE, "")
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // no longer mounted
	}
	return err
}

// isMountPoint reports whether something is mounted on dir itself: it is then
// on another device than its parent.
func isMountPoint(dir string) (bool, error) {
	var here, above unix.Stat_t
	if err := unix.Lstat(dir, &here); err != nil {
		return false, err
	}
	if err := unix.Lstat(filepath.Dir(dir), &above); err != nil {
		return false, err
	}
	return here.Dev != above.Dev, nil
}

func unmount(path string) error {
	err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EBUSY) {
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // no longer mounted
	}
	return err
}
