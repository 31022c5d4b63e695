//go:build linux || darwin

package badgerstore

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// lockFile locks f for this process until f is closed, or reports that another process has
// locked it.
func lockFile(f *os.File) (taken bool, err error) {
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

// diskRoom returns the free space of dir's disk.
func diskRoom(dir string) (room, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return room{}, err
	}
	return room{
		free:     int64(fs.Bavail) * int64(fs.Bsize), //nolint:unconvert // the types differ between platforms
		readOnly: fs.Flags&readOnlyFlag != 0,
	}, nil
}

// allocated returns the bytes that a file occupies on disk; badger allocates its logs at full
// length and fills them slowly.
func allocated(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int64(st.Blocks) * 512 //nolint:unconvert // the types differ between platforms
	}
	return info.Size()
}
