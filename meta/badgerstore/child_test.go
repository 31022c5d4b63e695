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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// The tests of this file run the test binary again as a child process: to kill
// it, and to see how much memory a program takes that has a store.
const (
	childJob = "EDGEKIT_BADGERSTORE_CHILD"
	childDir = "EDGEKIT_BADGERSTORE_DIR"
	// childKills says how often TestKill kills; empty means 20.
	childKills = "EDGEKIT_BADGERSTORE_KILLS"
)

func child(job string) {
	if job == "nothing" {
		fmt.Println(resident())
		return
	}
	s, err := badgerstore.Open(badgerstore.Config{Dir: os.Getenv(childDir)})
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

// batchOf gives the batch with a number: small ones, some too big for one
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
	// One key comes and goes.
	return append(ops, meta.Op{Key: fmt.Sprintf("local/%d/odd", w), Value: []byte("x"), Delete: n%2 == 0})
}

func numberOf(s meta.Store, w, k int) uint64 {
	r, err := s.Get(context.Background(), fmt.Sprintf("local/%d/%d", w, k))
	if err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(r.Value)
}

// TestKill kills a writing process at random moments. After each, all that it
// had acknowledged is there, each batch is there whole or not at all, and the
// revision has not gone back.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() || raceDetector {
		kills = 3
	}
	if n, err := strconv.Atoi(os.Getenv(childKills)); err == nil {
		kills = n
	}
	dir := t.TempDir()
	var acked [writers]uint64
	var revision uint64
	for range kills {
		killOnce(t, dir, &acked)
		s, err := badgerstore.Open(badgerstore.Config{Dir: dir, Damaged: func(e *meta.CorruptError) { t.Error(e) }})
		if err != nil {
			t.Fatal(err)
		}
		for w := range writers {
			checkWriter(t, s, w, acked[w])
		}
		now, err := s.Apply(t.Context())
		if err != nil || now < revision {
			t.Errorf("revision went back from %d to %d, %v", revision, now, err)
		}
		revision = now
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}
}

// killOnce runs the child for a random while after its first acknowledgement.
func killOnce(t *testing.T, dir string, acked *[writers]uint64) {
	cmd := command(t, "write", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var timer *time.Timer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var w int
		var n uint64
		if _, err := fmt.Sscanf(lines.Text(), "ok %d %d", &w, &n); err != nil {
			t.Errorf("child says %q", lines.Text())
			break
		}
		acked[w] = max(acked[w], n)
		if timer == nil {
			timer = time.AfterFunc(time.Duration(rand.Int64N(int64(100*time.Millisecond))), func() { _ = cmd.Process.Kill() })
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if timer == nil {
		t.Error("child acknowledged nothing")
		return
	}
	timer.Stop()
}

func checkWriter(t *testing.T, s meta.Store, w int, acked uint64) {
	n := numberOf(s, w, 0)
	if n < acked {
		t.Errorf("writer %d: batch %d was acknowledged, the store is at %d", w, acked, n)
	}
	for _, op := range batchOf(w, n) {
		r, err := s.Get(t.Context(), op.Key)
		if op.Delete || n == 0 {
			if err == nil {
				t.Errorf("%s is there, batch %d removed it", op.Key, n)
			}
			continue
		}
		if err != nil || !bytes.Equal(r.Value, op.Value) {
			t.Errorf("%s is not as batch %d left it: %d bytes, %v", op.Key, n, len(r.Value), err)
		}
	}
}

// reportMemory writes 1,000 objects of 1 KiB, reads them, and prints what the
// process holds then.
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

// resident gives the KiB of memory that this process holds.
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

// memoryBudget is what a store of 1,000 objects may add to a process, in KiB.
const memoryBudget = 12 << 10

// TestMemoryBudget compares a process that has a store of 1,000 objects with
// one that has none.
func TestMemoryBudget(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes more than the store")
	}
	if resident() < 0 {
		t.Skip("needs /proc")
	}
	without, with := runResident(t, "nothing"), runResident(t, "memory")
	t.Logf("%d KiB without a store, %d KiB with one", without, with)
	if with-without > memoryBudget {
		t.Errorf("a store takes %d KiB, %d are the budget", with-without, memoryBudget)
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
