//go:build unix

package crilog_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/edgekit/edgekit/edged/crilog"
)

// TestNoFile: something else than a file is in the place of the log, put there by a pod
// that mounts the folder of the logs. It is not read, and no reader blocks on it.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	secret, file := filepath.Join(dir, "secret"), filepath.Join(dir, "0.log")
	const line = "2026-01-02T03:04:05Z stdout F secret\n"
	write(t, secret, line)
	for name, put := range map[string]func() error{
		"link": func() error { return os.Symlink(secret, file) },
		"fifo": func() error { return syscall.Mkfifo(file, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := put(); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := crilog.Copy(t.Context(), file, crilog.Options{}, &out); err == nil || out.Len() > 0 {
				t.Errorf("copied %q, %v", out.String(), err)
			}
			if text, err := crilog.Tail(file, 10, 100); err == nil || text != "" {
				t.Errorf("read %q, %v", text, err)
			}
			// The same while a reader follows the log.
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			write(t, file, "2026-01-02T03:04:05Z stdout F mine\n")
			follower := followerFunc(func() (bool, error) { return true, errors.Join(os.Remove(file), put()) })
			if err := crilog.Copy(t.Context(), file, crilog.Options{Follow: follower}, &out); err == nil || out.String() != "mine\n" {
				t.Errorf("followed to %q, %v", out.String(), err)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		})
	}
}

type followerFunc func() (bool, error)

func (f followerFunc) Wait(context.Context) (bool, error) { return f() }
