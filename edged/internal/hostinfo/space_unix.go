//go:build unix

package hostinfo

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// SpaceOf reads the space of the file system of a folder.
func SpaceOf(dir string) (Space, error) {
	var at unix.Stat_t
	if err := unix.Stat(dir, &at); err != nil {
		return Space{}, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, err
	}
	size := int64(st.Bsize) //nolint:unconvert // the type differs between platforms
	return Space{
		Device: uint64(at.Dev), //nolint:unconvert // as above
		Total:  int64(st.Blocks) * size, Free: int64(st.Bavail) * size, Inodes: int64(st.Files), InodesFree: int64(st.Ffree),
	}, nil
}

// NearestSpace reads the space where dir will be: that of its nearest parent that exists.
func NearestSpace(dir string) (Space, error) {
	for {
		s, err := SpaceOf(dir)
		if !errors.Is(err, unix.ENOENT) || dir == filepath.Dir(dir) {
			return s, err
		}
		dir = filepath.Dir(dir)
	}
}
