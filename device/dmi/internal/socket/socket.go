package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// maxPath is the longest path that a unix socket can have on Linux.
const maxPath = 107

// Path returns the path that an address names: a path, unix:PATH or unix:///PATH.
func Path(address string) (string, error) {
	path := address
	if rest, ok := strings.CutPrefix(path, "unix:"); ok {
		path = rest
		if rest, ok := strings.CutPrefix(path, "//"); ok {
			path = rest
		}
	}
	switch {
	case !filepath.IsAbs(path) || strings.ContainsRune(path, 0):
		return "", fmt.Errorf("address %.120q is not the path of a unix socket: use /PATH or unix:///PATH", address)
	case len(path) > maxPath:
		return "", fmt.Errorf("address %.120q has a path of %d bytes: a unix socket can have %d", address, len(path), maxPath)
	}
	return filepath.Clean(path), nil
}

// Listen makes a unix socket and its folder. group is the group that may open it besides this
// user; 0 is none. It replaces a socket that nobody serves any more.
func Listen(path string, group int) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // mappers of other users come through; the socket has its own mode
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("%s is there and no socket: remove it or use another path", path)
		}
		if c, err := net.Dial("unix", path); err == nil {
			c.Close()
			return nil, fmt.Errorf("another program serves %s: end it or use another path", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o600)
	if group > 0 {
		mode = 0o660
		err = os.Chown(path, -1, group)
	}
	if err = errors.Join(err, os.Chmod(path, mode)); err != nil {
		l.Close()
		return nil, fmt.Errorf("mode and group of the socket: %w", err)
	}
	return l, nil
}

// Limit accepts at most n connections at once; the next wait.
func Limit(l net.Listener, n int) net.Listener {
	return &limited{Listener: l, slots: make(chan struct{}, n), closed: make(chan struct{})}
}

type limited struct {
	net.Listener
	slots  chan struct{}
	once   sync.Once
	closed chan struct{}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &counted{Conn: c, release: func() { <-l.slots }}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type counted struct {
	net.Conn
	once    sync.Once
	release func()
}

func (c *counted) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.release)
	return err
}
