//go:build unix

package nodeusage

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fileSystem reads the room on the file system of dir, or of its nearest parent that is
// there.
func fileSystem(dir string) (space, error) {
	var at unix.Stat_t
	for {
		err := unix.Stat(dir, &at)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return space{}, err
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return space{}, err
	}
	size := int64(st.Bsize) //nolint:unconvert // the type differs between platforms
	return space{
		device: uint64(at.Dev), //nolint:unconvert // as above
		total:  int64(st.Blocks) * size, free: int64(st.Bavail) * size, inodes: int64(st.Files), unused: int64(st.Ffree),
	}, nil
}
