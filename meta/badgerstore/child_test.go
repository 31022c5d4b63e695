package badgerstore_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// The tests of this file run the test binary again as a child process: to kill it, and to
// measure the memory of a program with a store.
const (
	childJob = "EDGEKIT_BADGERSTORE_CHILD"
	childDir = "EDGEKIT_BADGERSTORE_DIR"
	childKey = "EDGEKIT_BADGERSTORE_KEY" // the key file; empty for none

	// The extent of the crash tests; "make crash" sets them.
	crashKills = "CRASH_KILLS" // processes killed; 20 if not set
	crashCuts  = "CRASH_CUTS"  // power cuts; 6 if not set
	crashSeed  = "CRASH_SEED"  // of what is random in them
)

// number reads a setting.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

// result prints a figure for programs to find.
func result(name string, value float64, unit string) {
	fmt.Printf("RESULT %s %.4g %s\n", name, value, unit)
}

func child(job string) {
	if job == "nothing" {
		fmt.Println(resident())
		return
	}
	s, err := badgerstore.Open(badgerstore.Config{Dir: os.Getenv(childDir), KeyFile: os.Getenv(childKey), Reserve: -1})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	switch job {
	case "write":
		writeForever(s)
	case "memory":
		reportMemory(s)
	}
	if err := s.Close(); err != nil {
		fmt.Println("close:", err)
		os.Exit(1)
	}
}

func command(t testing.TB, job, dir string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childJob+"="+job, childDir+"="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// writers is how many goroutines of the child write. Each writes batches of
// its own keys, which all get the number of the batch, and prints the number
// when the batch is acknowledged.
const writers = 4

func writeForever(s meta.Store) {
	for w := range writers {
		go func() {
			last := numberOf(s, w, 0)
			for n := last + 1; ; n++ {
				if _, err := s.Apply(context.Background(), batchOf(w, n)...); err != nil {
					fmt.Println("apply:", err)
					return
				}
				fmt.Printf("ok %d %d\n", w, n)
			}
		}()
	}
	select {}
}

// batchOf returns the batch with a number: small ones, some too big for one
// transaction, and some with a value in pieces.
func batchOf(w int, n uint64) []meta.Op {
	size := 100
	switch n % 20 {
	case 7:
		size = 40 << 10
	case 13:
		size = 300 << 10
	}
	var ops []meta.Op
	for k := range 5 {
		value := bytes.Repeat([]byte{byte(n)}, size)
		binary.BigEndian.PutUint64(value, n)
		ops = append(ops, meta.Op{Key: fmt.Sprintf("local/%d/%d", w, k), Value: value})
	}
	// One key is set and deleted in turn.
	return append(ops, meta.Op{Key: fmt.Sprintf("local/%d/odd", w), Value: []byte("x"), Delete: n%2 == 0})
}

func numberOf(s meta.Store, w, k int) uint64 {
	r, err := s.Get(context.Background(), fmt.Sprintf("local/%d/%d", w, k))
	if err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(r.Value)
}

// TestKill kills a writing process at random moments. After each kill every acknowledged
// batch is there, each batch is there whole or not at all, and the revision has not gone
// back.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() || raceDetector {
		kills = 3
	}
	kills = number(crashKills, kills)
	cfg := badgerstore.Config{Dir: t.TempDir()}
	var of tally
	for range kills {
		of.run(t, cfg, new(atomic.Bool), func(cmd *exec.Cmd) { _ = cmd.Process.Kill() })
		of.check(t, cfg)
		if t.Failed() {
			break
		}
	}
	result("crash_kills", float64(kills), "kills")
	result("crash_acked", float64(of.batches), "batches")
	result("crash_lost", float64(of.lost), "batches")
	result("crash_half", float64(of.half), "batches")
	result("crash_disk", float64(of.disk)/(1<<20), "MiB")
}

// tally records what processes have written to a store.
type tally struct {
	acked      [writers]uint64 // the newest batch of each writer that was acknowledged
	revision   uint64
	batches    uint64 // acknowledged, of all writers
	lost, half int    // batches
	disk       int64  // bytes that the store took when it was last checked
}

// run starts a process that writes, and kills it a random time after its first
// acknowledgement. mayFail says that it may report errors, or crash.
func (of *tally) run(t *testing.T, cfg badgerstore.Config, mayFail *atomic.Bool, end func(*exec.Cmd)) {
	cmd := command(t, "write", cfg.Dir)
	cmd.Env = append(cmd.Env, childKey+"="+cfg.KeyFile)
	if mayFail.Load() {
		cmd.Stderr = nil
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ended sync.WaitGroup
	first := true
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var w int
		var n uint64
		if _, err := fmt.Sscanf(lines.Text(), "ok %d %d", &w, &n); err != nil {
			if !mayFail.Load() {
				t.Errorf("child says %q", lines.Text())
				break
			}
			continue
		}
		of.batches += n - of.acked[w]
		of.acked[w] = n
		if first {
			first = false
			wait := time.Duration(rand.Int64N(int64(100 * time.Millisecond)))
			ended.Go(func() {
				<-time.After(wait)
				end(cmd)
			})
		}
	}
	ended.Wait()
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if first {
		t.Error("child acknowledged nothing")
	}
}

// check opens the store and compares it with what was acknowledged.
func (of *tally) check(t *testing.T, cfg badgerstore.Config) {
	cfg.Damaged = func(e *meta.CorruptError) { t.Error(e) }
	s, err := badgerstore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for w := range writers {
		n := numberOf(s, w, 0)
		if n < of.acked[w] {
			of.lost++
			t.Errorf("writer %d: batch %d was acknowledged, the store is at %d", w, of.acked[w], n)
		}
		of.acked[w] = n // an unacknowledged batch may be there; from now on it must stay
		if !wholeBatch(t, s, w, n) {
			of.half++
		}
	}
	now, err := s.Apply(t.Context())
	if err != nil || now < of.revision {
		t.Errorf("revision went back from %d to %d, %v", of.revision, now, err)
	}
	of.revision, of.disk = now, s.Stats().DiskBytes
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// wholeBatch reports whether a writer's keys are as its batch n left them.
func wholeBatch(t *testing.T, s meta.Store, w int, n uint64) bool {
	whole := true
	for _, op := range batchOf(w, n) {
		r, err := s.Get(t.Context(), op.Key)
		if op.Delete || n == 0 {
			if err == nil {
				t.Errorf("%s is there, batch %d removed it", op.Key, n)
				whole = false
			}
			continue
		}
		if err != nil || !bytes.Equal(r.Value, op.Value) {
			t.Errorf("%s is not as batch %d left it: %d bytes, %v", op.Key, n, len(r.Value), err)
			whole = false
		}
	}
	return whole
}

// reportMemory writes 1,000 objects of 1 KiB, reads them, and prints how much memory the
// process then has.
func reportMemory(s meta.Store) {
	ctx := context.Background()
	value := make([]byte, 1024)
	for i := range 1000 {
		if _, err := s.Apply(ctx, meta.Op{Key: fmt.Sprintf("down/pods/default/pod-%04d", i), Value: value}); err != nil {
			fmt.Println("apply:", err)
			return
		}
	}
	if list, _, err := s.List(ctx, meta.Down); err != nil || len(list) != 1000 {
		fmt.Println("list:", len(list), err)
		return
	}
	fmt.Println(resident())
}

// resident returns the KiB of memory that this process holds.
func resident() int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return -1
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n := -1
	_, _ = fmt.Sscan(rest, &n)
	return n
}

// memoryBudget is how much memory a store of 1,000 objects may add to a process, in KiB;
// sealedBudget is the same for an encrypted store.
const (
	memoryBudget = 12 << 10
	sealedBudget = 14 << 10
)

// TestMemoryBudget compares a process that has a store of 1,000 objects with
// one that has none.
func TestMemoryBudget(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes more than the store")
	}
	if resident() < 0 {
		t.Skip("needs /proc")
	}
	for _, tt := range []struct {
		name, key string
		budget    int
	}{{"plain", "", memoryBudget}, {"encrypted", filepath.Join(t.TempDir(), "key"), sealedBudget}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(childKey, tt.key)
			without, with := runResident(t, "nothing"), runResident(t, "memory")
			t.Logf("%d KiB without a store, %d KiB with one", without, with)
			if with-without > tt.budget {
				t.Errorf("a store takes %d KiB, %d are the budget", with-without, tt.budget)
			}
		})
	}
}

func runResident(t *testing.T, job string) int {
	t.Helper()
	out, err := command(t, job, t.TempDir()).Output()
	n, convErr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || convErr != nil {
		t.Fatalf("child %s: %v: %s", job, err, out)
	}
	return n
}
