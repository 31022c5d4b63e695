package badgerstore

import (
	"os"

	"golang.org/x/sys/unix"
)

const readOnlyFlag = unix.ST_RDONLY

// allocate returns a new file size bytes on the disk.
func allocate(f *os.File, size int64) error { return unix.Fallocate(int(f.Fd()), 0, 0, size) }
