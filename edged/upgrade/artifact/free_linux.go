package artifact

import "golang.org/x/sys/unix"

// freeSpace is what the file system of a folder has for this user.
func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // of 32 bits on arm
}
