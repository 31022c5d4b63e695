//go:build unix

package nodestate

import "golang.org/x/sys/unix"

// DiskOf reads the file system that path is on. ok is false if it cannot be read.
func DiskOf(path string) (d Disk, ok bool) {
	var fs unix.Statfs_t
	if unix.Statfs(path, &fs) != nil {
		return Disk{Path: path}, false
	}
	size := uint64(fs.Bsize)
	return Disk{Path: path, TotalBytes: uint64(fs.Blocks) * size, FreeBytes: uint64(fs.Bavail) * size, FreeInodes: uint64(fs.Ffree)}, true //nolint:unconvert // other systems have other types
}
