package apiserver

import (
	"context"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/edgekit/edgekit/meta"
)

// socketRetry is the pause between attempts to make a socket while the disk is full or
// read-only.
const socketRetry = 5 * time.Second

// ListenSocket makes a Unix socket that only this user may open, with its folder. It
// replaces a socket of an earlier run. A full or read-only disk must not end the agent:
// ListenSocket logs it once and tries again until it succeeds or ctx ends, and then
// returns the error.
func ListenSocket(ctx context.Context, path string, log *slog.Logger) (net.Listener, error) {
	l, err := listenSocket(path)
	if meta.TakesNothing(err) {
		log.Warn("the socket cannot be made on this disk; trying again", "socket", path, "every", socketRetry, "err", err)
	}
	for ; meta.TakesNothing(err); l, err = listenSocket(path) {
		select {
		case <-time.After(socketRetry):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return l, err
}

func listenSocket(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
