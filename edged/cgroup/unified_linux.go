package cgroup

import "golang.org/x/sys/unix"

// unified reports whether version 2 is mounted there.
func unified(mount string) bool {
	var st unix.Statfs_t
	return unix.Statfs(mount, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}
