package join_test

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/edgekit/edgekit/hub/join"
)

// fullDisk makes every write of a file beyond its first bytes fail until the test ends,
// like a full disk, also for root.
func fullDisk(t *testing.T) {
	t.Helper()
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 16, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Error(err)
		}
		signal.Reset(syscall.SIGXFSZ)
	})
}

// TestFullDisk: a Save that fails leaves the earlier file, and the node continues with
// it.
func TestFullDisk(t *testing.T) {
	c := newCloud(t)
	dir, fresh := t.TempDir(), filepath.Join(t.TempDir(), "fresh")
	cred := c.joined(t, "edge-1")
	if err := cred.Save(dir); err != nil {
		t.Fatal(err)
	}
	id := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Dir = dir })
	t.Run("full", func(t *testing.T) {
		fullDisk(t)
		if err := id.Renew(t.Context()); !errors.Is(err, syscall.EFBIG) {
			t.Error("renewed on a full disk:", err)
		}
		if _, err := join.PendingKey(fresh); !errors.Is(err, syscall.EFBIG) {
			t.Error("a key that is not kept was given:", err)
		}
	})
	saved, err := join.LoadCredentials(dir)
	if err != nil || !saved.Leaf.Equal(cred.Leaf) || !id.Credentials().Leaf.Equal(cred.Leaf) {
		t.Error("the old credentials did not survive:", err)
	}
	for folder, want := range map[string]int{dir: 1, fresh: 0} {
		if left, err := os.ReadDir(folder); err != nil || len(left) != want {
			t.Errorf("left in %s: %v %v", folder, left, err)
		}
	}
	if err := id.Renew(t.Context()); err != nil {
		t.Error("when there is room again:", err)
	}
}
