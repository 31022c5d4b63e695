package crilog

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// inotify is Linux's way to watch folders.
type inotify struct {
	f    *os.File
	once sync.Once
}

// newNotifier opens an inotify descriptor, see inotify(7).
func newNotifier() (notifier, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("crilog: inotify: %w", err)
	}
	return &inotify{f: os.NewFile(uintptr(fd), "inotify")}, nil
}

// add watches a folder.
func (n *inotify) add(path string) (int, error) {
	id, err := -1, error(nil)
	err2 := n.control(func(fd int) {
		id, err = unix.InotifyAddWatch(fd, path, unix.IN_MODIFY|unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_ONLYDIR)
	})
	if err2 != nil {
		return -1, err2
	}
	return id, err
}

// remove watches a folder no longer.
func (n *inotify) remove(id int) {
	// The watch may have gone with its folder.
	_ = n.control(func(fd int) { _, _ = unix.InotifyRmWatch(fd, uint32(id)) })
}

// control calls f with the descriptor, which stays open meanwhile.
func (n *inotify) control(f func(fd int)) error {
	raw, err := n.f.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// wait calls changed with the id of each folder that changes, until close.
func (n *inotify) wait(changed func(id int)) error {
	buf := make([]byte, 4<<10)
	for {
		got, err := n.f.Read(buf)
		if err != nil {
			return fmt.Errorf("crilog: inotify: %w", err)
		}
		for b := buf[:got]; len(b) >= unix.SizeofInotifyEvent; {
			id := int(int32(binary.NativeEndian.Uint32(b)))
			name := binary.NativeEndian.Uint32(b[12:])
			b = b[min(len(b), unix.SizeofInotifyEvent+int(name)):]
			changed(id)
		}
	}
}

// close ends wait.
func (n *inotify) close() {
	n.once.Do(func() { _ = n.f.Close() }) // nothing is written there
}
