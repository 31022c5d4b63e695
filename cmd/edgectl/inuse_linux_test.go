package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestRollbackInUse: where edgecore runs without systemd, and does not answer yet, nothing is changed under it.
func TestRollbackInUse(t *testing.T) {
	dir := stoppedNode(t)
	if err := os.MkdirAll(filepath.Join(dir, "meta"), 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "meta", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("process 7 (edgecore)"); err != nil {
		t.Fatal(err)
	}
	m := &testMachine{t: t}
	var out strings.Builder
	r := &rollbackCmd{localFlags: localFlags{DataDir: dir}, connect: m.connect}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), program.Output{Writer: &out}); err == nil || !strings.Contains(err.Error(), `"process 7 (edgecore)" has its store open: stop it first`) {
		t.Errorf("%v, %q", err, &out)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), program.Output{Writer: &out}); err != nil || !strings.Contains(out.String(), "The next start runs v1") {
		t.Errorf("%v, %q", err, &out)
	}
}
