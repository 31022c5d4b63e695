//go:build unix

package reclaim

import "golang.org/x/sys/unix"

// spaceOf reads how full the file system of a folder is, see statfs(2).
func spaceOf(folder string) (usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return usage{}, err
	}
	size := uint64(st.Bsize)
	return usage{capacity: uint64(st.Blocks) * size, available: uint64(st.Bavail) * size}, nil //nolint:unconvert // the types differ between platforms
}
