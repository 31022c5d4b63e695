//go:build linux

package disktest_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/meta/internal/disktest"
)

func TestMain(m *testing.M) {
	if disktest.Serve() {
		return
	}
	goleak.VerifyTestMain(m)
}

// TestCut writes a file that is synced and one that is not: the first is there after a
// cut. A disk that fails refuses all writes.
func TestCut(t *testing.T) {
	if !disktest.Isolate(t) {
		return
	}
	disk := disktest.New(t, 16<<20)
	dir := disk.On(t)
	save := func(name string) error {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteString(name); err != nil {
			return err
		}
		return f.Sync()
	}
	if err := save("synced"); err != nil {
		t.Fatal(err)
	}
	disk.Fail(syscall.EIO)
	if err := save("failed"); err == nil {
		t.Error("a broken disk has taken a file")
	}
	disk.Cut(rand.New(rand.NewPCG(1, 2)))
	dir = disk.On(t)
	if b, err := os.ReadFile(filepath.Join(dir, "synced")); err != nil || string(b) != "synced" {
		t.Errorf("the synced file holds %q, %v", b, err)
	}
	if err := save("after"); err != nil {
		t.Errorf("the disk after the cut: %v", err)
	}
}
