package upgrade

import (
	"io/fs"
	"os"
	"syscall"
)

// execProgram replaces this process: the same process id, arguments and environment, another
// program. Its files are verified, its path is fixed, and no shell sees the arguments.
func execProgram(path string, args, env []string) error {
	return &fs.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, args, env)}
}

// ownedByUs reports whether a file belongs to root or to the user of this process.
func ownedByUs(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

func inode(info fs.FileInfo) uint64 {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return stat.Ino
	}
	return 0
}

// noExec reports whether programs on the file system of a folder cannot be run (mount option
// noexec).
func noExec(dir string) bool {
	const flag = 8 // ST_NOEXEC of statfs(2)
	var s syscall.Statfs_t
	return syscall.Statfs(dir, &s) == nil && s.Flags&flag != 0
}
