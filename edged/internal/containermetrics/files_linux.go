package containermetrics

import "golang.org/x/sys/unix"

// maxFile bounds what is read of one file. A memory.stat has 2 KiB, a list of disks may have more.
const maxFile = 256 << 10

// files reads small files into one buffer, which grows with the largest of them.
type files struct{ buffer []byte }

// read reads a file of the folder that at has open. The text is good until the next call; it is nil
// if the file cannot be read.
func (f *files) read(at folder, name string) []byte {
	fd, err := openRetry(int(at), name, unix.O_RDONLY)
	if err != nil {
		return nil
	}
	defer unix.Close(fd) // it was only read
	if f.buffer == nil {
		f.buffer = make([]byte, 8<<10)
	}
	n := 0
	for {
		got, err := unix.Read(fd, f.buffer[n:])
		if err == unix.EINTR { // a bare errno
			continue
		}
		if err != nil {
			return nil
		}
		if n += got; got == 0 {
			return f.buffer[:n]
		}
		if n < len(f.buffer) {
			continue
		}
		if n >= maxFile {
			return f.buffer[:n]
		}
		f.buffer = append(f.buffer, make([]byte, n)...)
	}
}

// folder is an open folder.
type folder int

func openFolder(path string) (folder, bool) {
	fd, err := openRetry(unix.AT_FDCWD, path, unix.O_PATH|unix.O_DIRECTORY)
	return folder(fd), err == nil
}

func (d folder) close() { _ = unix.Close(int(d)) } // it was only looked into

// changed is when a file of the folder was last changed, in seconds since the epoch; 0 if it is not
// there. "" is the folder itself.
func (d folder) changed(name string) int64 {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d), name, &st, unix.AT_EMPTY_PATH); err != nil {
		return 0
	}
	return int64(st.Mtim.Sec) //nolint:unconvert // 32 bits on some platforms
}

func openRetry(at int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(at, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR { // a bare errno
			return fd, err
		}
	}
}
