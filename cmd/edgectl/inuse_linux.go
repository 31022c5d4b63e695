package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// checkUnused refuses a data folder whose store a process has open. edgecore has it open while it runs,
// with systemd or without.
func checkUnused(dataDir string) error {
	f, err := os.Open(filepath.Join(dataDir, "meta", "lock"))
	if err != nil {
		return nil //nolint:nilerr // no store, so nobody has it open
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); !errors.Is(err, unix.EWOULDBLOCK) {
		return nil // it is free, or its disk knows no locks
	}
	who := make([]byte, 100)
	n, _ := f.Read(who) // only for the text
	return fmt.Errorf("edgecore does not answer, and %q has its store open: stop it first, so that it does not change the same files", who[:n])
}
