package badgerstore

import (
	"os"

	"golang.org/x/sys/unix"
)

const readOnlyFlag = unix.ST_RDONLY

// allocate returns a new file size bytes on the disk.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }

// memoryRoom returns how many bytes are free in a folder, and whether it is in memory.
func memoryRoom(dir string) (free int64, ok bool) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
		return 0, false
	}
	return int64(fs.Bavail * uint64(fs.Bsize)), true
}
