// Package journal reads the end of a service's log from systemd's journal, for "edgectl debug
// bundle": why a program ended is nowhere else.
//
// It runs journalctl, the only program that edgectl starts. The journal's files have no other
// reader without a C library, and their format (hash tables, compression, several versions) is
// more code than this is worth. The program's path and all its arguments are constants, no shell
// sees them, and its environment is empty.
package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// maxBytes bounds what is read; journalctl prints the newest lines last.
const maxBytes = 8 << 20

// ErrNone is returned on a machine without journalctl.
var ErrNone = errors.New("journal: this machine has no journalctl")

// paths are where journalctl is. PATH is not asked, since edgectl runs as root.
func paths() []string { return []string{"/usr/bin/journalctl", "/bin/journalctl"} }

// Edgecore returns the last 2,000 lines of edgecore.service.
func Edgecore(ctx context.Context) ([]byte, error) {
	for _, path := range paths() {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return run(exec.CommandContext(ctx, path, "--unit=edgecore.service", "--lines=2000", "--no-pager", "--quiet", "--output=short-iso", "--utc"))
		}
	}
	return nil, ErrNone
}

// run returns what the program prints, at most maxBytes.
func run(cmd *exec.Cmd) ([]byte, error) {
	var errs bytes.Buffer
	cmd.Env, cmd.Stderr = []string{"LC_ALL=C", "SYSTEMD_COLORS=0"}, &limited{to: &errs, left: 4 << 10}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	text, readErr := io.ReadAll(io.LimitReader(out, maxBytes))
	_, drainErr := io.Copy(io.Discard, out)
	if err := errors.Join(cmd.Wait(), readErr, drainErr); err != nil {
		return text, fmt.Errorf("journal: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	return text, nil
}

// limited writes the first bytes and drops the rest.
type limited struct {
	to   io.Writer
	left int
}

// Write writes what there is room for.
func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	if _, err := l.to.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}
