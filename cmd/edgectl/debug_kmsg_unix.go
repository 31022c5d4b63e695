//go:build unix

package main

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// kernelLog reads /dev/kmsg until there is nothing new. A message that was overwritten meanwhile is
// skipped (EPIPE).
type kernelLog struct{ fd int }

// openKernelLog opens it so that a read does not wait. Another kind of file is read as it is.
func openKernelLog(name string) (io.ReadCloser, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() {
		return os.Open(name)
	}
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return &kernelLog{fd}, nil
}

// Read reads one message.
func (k *kernelLog) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(k.fd, b)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EAGAIN), err == nil && n == 0:
			return 0, io.EOF
		case err != nil:
			return 0, err
		}
		return n, nil
	}
}

// Close closes the file.
func (k *kernelLog) Close() error { return unix.Close(k.fd) }
