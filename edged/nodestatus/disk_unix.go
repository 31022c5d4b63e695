//go:build unix

package nodestatus

import (
	"errors"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// diskSpace reads the room on the file system of dir, or of its nearest parent that is there.
func diskSpace(dir string) (total, free int64, inodes, inodesFree uint64, err error) {
	var st unix.Statfs_t
	for {
		err = unix.Statfs(dir, &st)
		if !errors.Is(err, unix.ENOENT) || dir == "/" {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err != nil {
		return 0, 0, 0, 0, err
	}
	size := int64(st.Bsize) //nolint:unconvert // the type differs between platforms
	return int64(st.Blocks) * size, int64(st.Bavail) * size, st.Files, st.Ffree, nil
}
