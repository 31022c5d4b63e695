//go:build linux

package disktest

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
)

// The interface of the process that serves the disk: its environment has the mount point and the
// image, and commands are a byte and a number.
const (
	serving     = "EDGEKIT_DISKTEST_MOUNT"
	imageName   = "EDGEKIT_DISKTEST_IMAGE"
	cutCommand  = 'c' // the seed of what is lost
	failCommand = 'f' // the error
)

// sector is what a disk writes whole or not at all.
const sector = 512

// Serve is called first thing in TestMain. In the process that is the disk it
// returns true when that has done its work.
func Serve() bool {
	mount := os.Getenv(serving)
	if mount == "" {
		return false
	}
	if err := serveMedium(mount, os.Getenv(imageName)); err != nil {
		fmt.Fprintln(os.Stderr, "disk:", err)
	}
	return true
}

// serveMedium serves the disk until its command pipe is closed.
func serveMedium(mount, image string) error {
	flushed, err := os.ReadFile(image)
	if err != nil {
		return err
	}
	m := &medium{flushed: flushed, now: append([]byte(nil), flushed...)}
	if err := serve(mount, m); err != nil {
		return err
	}
	var command [9]byte
	for err == nil {
		if _, err = os.Stdout.Write([]byte{1}); err == nil {
			_, err = io.ReadFull(os.Stdin, command[:])
		}
		if err == nil {
			m.command(command[0], binary.NativeEndian.Uint64(command[1:]))
		}
	}
	// It was unmounted, or its owner died, and the end of this process frees
	// who hangs in it.
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.cut {
		m.flushed = m.now
	}
	return os.WriteFile(image, m.flushed, 0o600)
}

// medium is the content of the disk, as the kernel writes it.
type medium struct {
	mu      sync.Mutex
	flushed []byte  // what was flushed
	now     []byte  // what the kernel reads
	cache   []write // what was written since the last flush
	fault   syscall.Errno
	cut     bool // the power was cut: writes are dropped
}

type write struct {
	at   int64
	data []byte
}

func (m *medium) command(what byte, argument uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch what {
	case failCommand:
		m.fault = syscall.Errno(argument)
	case cutCommand:
		m.cutLocked(rand.New(rand.NewPCG(argument, 0)))
	}
}

func (m *medium) cutLocked(rng *rand.Rand) {
	torn := rng.IntN(len(m.cache) + 1)
	for i, w := range m.cache {
		data := w.data
		if i == torn {
			data = data[:sector*rng.IntN(len(data)/sector+1)]
		} else if rng.IntN(2) == 0 {
			continue
		}
		copy(m.flushed[w.at:], data)
	}
	m.cut, m.cache = true, nil
}

// brokenLocked says why the disk cannot do something; it needs mu.
func (m *medium) brokenLocked() syscall.Errno {
	if m.cut {
		return syscall.EIO
	}
	return m.fault
}

func (m *medium) read(at int64, size int) ([]byte, syscall.Errno) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if errno := m.brokenLocked(); errno != 0 {
		return nil, errno
	}
	end := int64(len(m.now))
	return append([]byte(nil), m.now[min(at, end):min(at+int64(size), end)]...), 0
}

func (m *medium) write(at int64, data []byte) syscall.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	if errno := m.brokenLocked(); errno != 0 {
		return errno
	}
	if at+int64(len(data)) > int64(len(m.now)) {
		return syscall.ENOSPC
	}
	m.cache = append(m.cache, write{at, append([]byte(nil), data...)})
	copy(m.now[at:], data)
	return 0
}

func (m *medium) flush() syscall.Errno {
	m.mu.Lock()
	defer m.mu.Unlock()
	if errno := m.brokenLocked(); errno != 0 {
		return errno
	}
	for _, w := range m.cache {
		copy(m.flushed[w.at:], w.data)
	}
	m.cache = nil
	return 0
}

func (m *medium) size() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return uint64(len(m.now))
}
