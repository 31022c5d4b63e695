package badgerstore_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// allocatedBytes returns what a file takes on disk.
func allocatedBytes(info fs.FileInfo) int64 { return info.Sys().(*syscall.Stat_t).Blocks * 512 }

// TestValueLogStaysEmpty stores values of every size: badger's value log stays empty, and
// so needs no garbage collection.
func TestValueLogStaysEmpty(t *testing.T) {
	dir := memoryDir(t)
	scratch := memoryDir(t)
	s := openAs(t, badgerstore.Config{Dir: dir, Scratch: scratch})
	defer s.Close()
	for _, size := range []int{1, 1 << 10, 100 << 10, 128 << 10, 128<<10 + 1, 1 << 20, meta.MaxValue} {
		for range 3 {
			if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte(strings.Repeat("v", size))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	logs := valueLogs(t, dir, scratch)
	if len(logs) != 1 {
		t.Fatalf("value logs %q", logs)
	}
	info, err := os.Stat(logs[0])
	if err != nil || allocatedBytes(info) > 4096 {
		t.Errorf("the value log takes %d bytes, %v", allocatedBytes(info), err)
	}
}

// valueLogs are the files of the value log of a store, beside its tables and in the folder for scratch.
func valueLogs(t *testing.T, dir, scratch string) []string {
	t.Helper()
	beside, err := filepath.Glob(filepath.Join(dir, "data", "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	apart, err := filepath.Glob(filepath.Join(scratch, "edgekit-log-*", "*.vlog"))
	if err != nil {
		t.Fatal(err)
	}
	return append(beside, apart...)
}

// TestValueLogFolder: the value log is in memory where there is room, alone in its folder; Close removes
// the folder, and Open the one that a killed process has left. Elsewhere it is beside the tables.
func TestValueLogFolder(t *testing.T) {
	scratch, dir := memoryDir(t), t.TempDir()
	if !strings.HasPrefix(scratch, "/dev/shm") {
		t.Skip("there is no /dev/shm")
	}
	folders := func() []string {
		names, err := filepath.Glob(filepath.Join(scratch, "edgekit-log-*"))
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	cfg := badgerstore.Config{Dir: dir, Scratch: scratch}
	write := func(s *badgerstore.Store) {
		t.Helper()
		if _, err := s.Apply(t.Context(), meta.Op{Key: "local/a", Value: []byte("v")}); err != nil {
			t.Fatal(err)
		}
	}
	s := openAs(t, cfg)
	write(s)
	first := folders()
	if len(first) != 1 {
		t.Fatalf("folders %q", first)
	}
	if err := s.Close(); err != nil || len(folders()) != 0 {
		t.Errorf("after Close: %q, %v", folders(), err)
	}
	if err := os.MkdirAll(filepath.Join(first[0], "sub"), 0o700); err != nil { // as after a kill
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(first[0]+"0", 0o666); err != nil { // anybody may make one in /dev/shm: to open it waits for ever
		t.Fatal(err)
	}
	s = openAs(t, cfg)
	write(s)
	if now := folders(); len(now) != 1 || now[0] == first[0] {
		t.Errorf("folders %q, of the killed process %q", now, first)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	// Another container has a store at the same path and shares the folder in memory.
	if err := os.Mkdir(first[0], 0o700); err != nil {
		t.Fatal(err)
	}
	used, err := os.Open(first[0])
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	if err := syscall.Flock(int(used.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if err := openAs(t, cfg).Close(); err != nil {
		t.Error(err)
	}
	if now := folders(); len(now) != 1 || now[0] != first[0] {
		t.Errorf("folders %q, in use is %q", now, first)
	}
	cfg.Scratch = t.TempDir() // on the disk, if the tests' folder is
	if s = openAs(t, cfg); len(valueLogs(t, dir, cfg.Scratch)) != 1 {
		t.Error("there is no value log")
	}
	r, err := s.Get(t.Context(), "local/a")
	if err != nil || string(r.Value) != "v" {
		t.Errorf("%q, %v", r.Value, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
