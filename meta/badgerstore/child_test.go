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
)

func child(job string) {
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
	if testing.Short() {
		kills = 3
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
// process holds.
func reportMemory(s meta.Store) {
	ctx := context.Background()
	for i := range 1000 {
		value := make([]byte, 1024)
		for j := range value {
			value[j] = byte(rand.Uint32())
		}
		if _, err := s.Apply(ctx, meta.Op{Key: fmt.Sprintf("down/pods/default/pod-%04d", i), Value: value}); err != nil {
			fmt.Println("apply:", err)
			return
		}
	}
	list, _, err := s.List(ctx, meta.Down)
	if err != nil {
		fmt.Println("list:", err)
	}
	fmt.Println("records", len(list))
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if strings.HasPrefix(line, "VmRSS") || strings.HasPrefix(line, "Rss") {
			fmt.Println(line)
		}
	}
}

// TestMemoryBudget holds a whole process with a store of 1,000 objects, its Go
// runtime and the test harness included, to a budget.
func TestMemoryBudget(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("needs /proc")
	}
	out, err := command(t, "memory", t.TempDir()).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("%s", out)
}
