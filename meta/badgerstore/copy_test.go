//go:build linux

package badgerstore_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/internal/disktest"
)

// TestReadOnlyMount opens stores on a disk that is mounted read-only: one that was
// closed, an encrypted one whose process was killed, and one that does not exist yet.
// Existing ones can be read, refuse writes, and accept them again when the disk does.
func TestReadOnlyMount(t *testing.T) {
	if !disktest.Isolate(t) {
		return
	}
	dir, scratch := disktest.New(t, 64<<20).On(t), t.TempDir()
	closed := badgerstore.Config{Dir: filepath.Join(dir, "closed"), Scratch: scratch, Damaged: func(e *meta.CorruptError) { t.Error(e) }}
	filled(t, closed)
	killed := badgerstore.Config{Dir: filepath.Join(dir, "killed"), KeyFile: filepath.Join(dir, "key"), Scratch: scratch}
	var acked tally
	acked.run(t, killed, new(atomic.Bool), func(cmd *exec.Cmd) { _ = cmd.Process.Kill() })

	mount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount(unix.MS_RDONLY)
	if _, err := badgerstore.Open(badgerstore.Config{Dir: filepath.Join(dir, "none")}); !errors.Is(err, syscall.EROFS) || !strings.Contains(err.Error(), "mount it writable") {
		t.Errorf("a new store on a read-only disk: %v", err)
	}
	for range 2 {
		acked.check(t, killed)
	}
	s := openAs(t, closed)
	if _, err := badgerstore.Open(closed); !errors.Is(err, badgerstore.ErrInUse) {
		t.Errorf("a second program: %v", err)
	}
	wantRefused(t, s, syscall.EROFS)
	comesBack(t, closed, s, func() { mount(0) })
	wantEmptyFolder(t, scratch)
	acked.check(t, killed)
}

// TestFullDiskAtOpen opens a store on a disk that has no byte left, and no
// ballast.
func TestFullDiskAtOpen(t *testing.T) {
	if !disktest.Isolate(t) {
		return
	}
	dir, scratch := disktest.New(t, 64<<20).On(t), t.TempDir()
	cfg := badgerstore.Config{Dir: filepath.Join(dir, "store"), Reserve: 16 << 20, Scratch: scratch, Damaged: func(e *meta.CorruptError) { t.Error(e) }}
	filled(t, cfg)
	if err := os.Remove(filepath.Join(cfg.Dir, "ballast")); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	fillDisk(t, filler)
	s := openAs(t, cfg)
	wantRefused(t, s, syscall.ENOSPC)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantEmptyFolder(t, scratch)
	s = openAs(t, cfg)
	comesBack(t, cfg, s, func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	})
}

// wantRefused checks that a store of filled can be read and not written.
func wantRefused(t *testing.T, s *badgerstore.Store, why syscall.Errno) {
	t.Helper()
	list, _, err := s.List(t.Context(), "")
	if err != nil || len(list) != 50 {
		t.Errorf("%d records, %v", len(list), err)
	}
	for range 2 {
		if _, err := s.Apply(t.Context(), meta.Op{Key: "local/new"}); !errors.Is(err, why) {
			t.Errorf("Apply: %v, want %v", err, why)
		}
	}
	if stats := s.Stats(); !errors.Is(stats.Failure, why) || stats.Refused != 2 {
		t.Errorf("figures: %+v", stats)
	}
}

// comesBack repairs the disk below a store of filled, and checks that the store then
// accepts a batch, which its watchers see and an open snapshot does not. It closes the
// store and opens it again.
func comesBack(t *testing.T, cfg badgerstore.Config, s *badgerstore.Store, mend func()) {
	t.Helper()
	before, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	changes, err := s.Watch(ctx, "", before.Revision())
	if err != nil {
		t.Fatal(err)
	}
	mend()
	at, err := s.Apply(t.Context(), meta.Op{Key: "local/new", Value: []byte("1")})
	if err != nil || at <= before.Revision() {
		t.Fatalf("Apply when the disk is writable again: %d, %v", at, err)
	}
	if events := <-changes; len(events) != 1 || events[0].Revision != at {
		t.Errorf("watched %+v", events)
	}
	n := 0
	for _, err := range before.Records(t.Context(), "") {
		if n++; err != nil {
			t.Fatal(err)
		}
	}
	if list, _, err := s.List(t.Context(), ""); err != nil || len(list) != 51 || n != 50 {
		t.Errorf("%d records, %d in the snapshot from before, %v", len(list), n, err)
	}
	if err := s.Stats().Failure; err != nil {
		t.Errorf("figures: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openAs(t, cfg)
	if r, err := s.Get(t.Context(), "local/new"); err != nil || r.Revision != at {
		t.Errorf("opened again: %+v, %v", r, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func wantEmptyFolder(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%s holds %v, %v", dir, left, err)
	}
}
