//go:build unix

package diskusage

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openFolder opens a folder of the walk; nil if it is gone or cannot be read, and counts
// as nothing. os.Root keeps the path below the walk's folder although a pod may change it
// at any time.
func (w *walk) openFolder(name string) *os.File {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return nil
	}
	defer root.Close()
	dir, err := root.OpenFile(name, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil
	}
	if name == "." {
		var st unix.Stat_t
		if unix.Fstat(int(dir.Fd()), &st) == nil {
			e := statEntry(&st)
			w.device = e.device
			w.so = Usage{Bytes: e.bytes, Inodes: 1}
		}
	}
	return dir
}

// readBatch counts the next files of the open folder, most of them at the most, and
// gives how many they were; 0 at its end.
func (w *walk) readBatch(most int) int {
	names, err := w.open.Readdirnames(most)
	if err != nil {
		return 0
	}
	fd := int(w.open.Fd())
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			w.count(filepath.Join(w.at, name), statEntry(&st))
		}
	}
	return len(names)
}

// statEntry is what stat(2) says of a file. Blocks have 512 bytes, whatever the file
// system.
func statEntry(st *unix.Stat_t) entry {
	return entry{
		bytes: uint64(st.Blocks) * 512, device: uint64(st.Dev), inode: st.Ino, links: uint64(st.Nlink), //nolint:unconvert // the types differ between platforms
		folder: st.Mode&unix.S_IFMT == unix.S_IFDIR,
	}
}
