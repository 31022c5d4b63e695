package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

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

// mountFlags are flags of a mount, as mount(2) has them.
type mountFlags struct{ set uintptr }

func (f *mountFlags) readOnly() { f.set |= unix.MS_RDONLY }

// bindFlags are the mount options that a bind mount can have by itself: the others
// belong to the file system, which is mounted already.
func bindFlags(options []string) (mountFlags, error) {
	known := map[string]uintptr{
		"ro": unix.MS_RDONLY, "nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
		"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
	}
	defaults := map[string]bool{"defaults": true, "rw": true, "suid": true, "dev": true, "exec": true, "bind": true}
	var f mountFlags
	for _, option := range options {
		for one := range strings.SplitSeq(option, ",") {
			flag, ok := known[one]
			if !ok && !defaults[one] {
				return f, fmt.Errorf("mount option %q is not one of a local volume, whose file system is mounted already: use ro, nosuid, nodev, noexec, noatime, nodiratime or relatime", one)
			}
			f.set |= flag
		}
	}
	return f, nil
}

// shareMount has containers that ask for it share mounts inside a bind mount, and
// gives the mount its flags besides those of the mount that it shows.
func shareMount(target string, flags mountFlags) error {
	if err := unix.Mount("", target, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return err
	}
	if flags.set == 0 {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(target, &st); err != nil {
		return err
	}
	// Flags that a remount does not repeat are cleared. The numbers of statfs(2) and
	// mount(2) are the same for these but for relatime.
	keep := uintptr(st.Flags) & (unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if st.Flags&unix.ST_RELATIME != 0 {
		keep |= unix.MS_RELATIME
	}
	return unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|keep|flags.set, "")
}

// mountID tells mounts apart, also of one file system: proc_pid_fdinfo(5).
func mountID(f *os.File) (string, error) {
	data, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(int(f.Fd())))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(data)) {
		if id, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return strings.TrimSpace(id), nil
		}
	}
	return "", errors.New("/proc/self/fdinfo has no mnt_id")
}

// bootID tells one run of the machine from the next: random(4).
func bootID() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // the same in each run: what was prepared counts as prepared
	}
	return strings.TrimSpace(string(id))
}

// fileSystemUsage says how full the file system at a path is.
func fileSystemUsage(path string) (CSIUsage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return CSIUsage{}, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	size := int64(st.Bsize)                                   //nolint:unconvert // 32 bits on ARM
	blocks := func(n uint64) int64 { return int64(n) * size } //nolint:gosec // a disk has less
	return CSIUsage{
		Bytes: blocks(st.Blocks), BytesUsed: blocks(st.Blocks - st.Bfree), BytesAvailable: blocks(st.Bavail),
		Inodes: int64(st.Files), InodesUsed: int64(st.Files - st.Ffree), InodesAvailable: int64(st.Ffree), //nolint:gosec // likewise
	}, nil
}

// groupOf is the group that owns a file.
func groupOf(path string) (int64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return int64(st.Gid), nil
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
