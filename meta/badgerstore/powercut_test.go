//go:build linux

package badgerstore_test

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/internal/disktest"
)

// TestPowerCut: a process writes to a disk whose power is cut at random moments; in half
// of the rounds the disk first returns errors. After each round a plain and an encrypted
// store must keep the rules of TestKill.
func TestPowerCut(t *testing.T) {
	if testing.Short() || raceDetector {
		t.Skip("a run of seconds with processes that are killed")
	}
	if !disktest.Isolate(t) {
		return
	}
	cuts, seed := number(crashCuts, 6), uint64(number(crashSeed, int(time.Now().UnixNano()%1e6)))
	t.Logf("%d cuts with %s=%d", cuts, crashSeed, seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	disk := disktest.New(t, 64<<20)
	var plain, sealed tally
	for n := range cuts + 1 {
		dir := disk.On(t)
		at := [...]struct {
			tally *tally
			cfg   badgerstore.Config
		}{
			{&plain, badgerstore.Config{Dir: filepath.Join(dir, "plain"), Reserve: -1}},
			{&sealed, badgerstore.Config{Dir: filepath.Join(dir, "sealed"), KeyFile: filepath.Join(dir, "key"), Reserve: -1}},
		}
		for _, s := range at {
			if _, err := os.Stat(s.cfg.Dir); err == nil {
				s.tally.check(t, s.cfg)
			}
		}
		if n == cuts || t.Failed() {
			break
		}
		s := at[n%2]
		fault := [...]syscall.Errno{0, 0, syscall.EIO, syscall.ENOSPC}[n%4]
		wait := time.Duration(rng.Int64N(int64(50 * time.Millisecond)))
		var mayFail atomic.Bool
		mayFail.Store(fault != 0)
		s.tally.run(t, s.cfg, &mayFail, func(cmd *exec.Cmd) {
			if fault != 0 {
				disk.Fail(fault)
				<-time.After(wait)
			}
			mayFail.Store(true) // the process may get errors of its disk
			disk.Cut(rng)
			_ = cmd.Process.Kill()
		})
	}
	result("crash_cuts", float64(cuts), "cuts")
	result("crash_cuts_acked", float64(plain.batches+sealed.batches), "batches")
	result("crash_cuts_lost", float64(plain.lost+sealed.lost), "batches")
	result("crash_cuts_half", float64(plain.half+sealed.half), "batches")
}

// TestFullDisk fills the disk under a store to the last byte: it goes on
// reading, refuses to write, can be closed and opened, and writes again when
// there is room.
func TestFullDisk(t *testing.T) {
	if !disktest.Isolate(t) {
		return
	}
	dir := disktest.New(t, 64<<20).On(t)
	cfg := badgerstore.Config{Dir: filepath.Join(dir, "store"), Reserve: 16 << 20, Damaged: func(e *meta.CorruptError) { t.Error(e) }}
	filler := filepath.Join(dir, "filler")
	put := func(s *badgerstore.Store, key string) error {
		_, err := s.Apply(t.Context(), meta.Op{Key: key, Value: make([]byte, 100<<10)})
		return err
	}
	s := openAs(t, cfg)
	if err := put(s, "local/a"); err != nil {
		t.Fatal(err)
	}
	fillDisk(t, filler)
	for range 3 {
		if err := put(s, "local/b"); !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Apply on a full disk: %v", err)
		}
		if r, err := s.Get(t.Context(), "local/a"); err != nil || len(r.Value) != 100<<10 {
			t.Errorf("Get on a full disk: %d bytes, %v", len(r.Value), err)
		}
		if stats := s.Stats(); !errors.Is(stats.Failure, syscall.ENOSPC) || stats.Refused == 0 {
			t.Errorf("figures of a full disk: %+v", stats)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("Close on a full disk: %v", err)
		}
		s = openAs(t, cfg)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"local/b", "local/c"} {
		if err := put(s, key); err != nil {
			t.Errorf("Apply when there is room again: %v", err)
		}
	}
	if list, _, err := s.List(t.Context(), ""); err != nil || len(list) != 3 {
		t.Errorf("%d records, %v", len(list), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// fillDisk fills a disk.
func fillDisk(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; size /= 2 {
		for block := make([]byte, size); ; {
			if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Sync(); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}
