package badgerstore_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// TestMeasurements prints the figures of BENCHMARKS.md; it is "make bench-meta".
func TestMeasurements(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("a measurement of minutes: set BENCH=1")
	}
	t.Run("Sync", diskSyncRate)
	for _, form := range []string{"", "encrypted_"} { // edgecore's is encrypted, unless it is old
		for name, measure := range map[string]func(t *testing.T, as figure){
			"Writes": durableWrites, "List": list1000, "Open": open10000, "Memory": storeMemory,
		} {
			t.Run(form+name, func(t *testing.T) {
				as := figure{prefix: form}
				if form != "" {
					as.key = filepath.Join(t.TempDir(), "key")
				}
				measure(t, as)
			})
		}
	}
	t.Run("HotKey", hotKey)
}

// figure says how a figure is measured, and its name.
type figure struct{ prefix, key string }

func (f figure) result(name string, value float64, unit string) { result(f.prefix+name, value, unit) }

func (f figure) open(t *testing.T) *badgerstore.Store {
	s := openAs(t, badgerstore.Config{Dir: t.TempDir(), KeyFile: f.key})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// benchWriters is how many goroutines write at the same time: at best, one sync makes a
// batch of each durable.
const benchWriters = 8

// diskSyncRate prints the highest rates that stores without and with group commit could
// reach.
func diskSyncRate(t *testing.T) {
	rate := syncRate(t)
	result("disk_sync_rate", rate, "1/s")
	result("group_commit_bound", benchWriters*rate, "1/s")
}

// syncRate writes 4 KiB and syncs, again and again.
func syncRate(t *testing.T) float64 {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	n, begun := 0, time.Now()
	for ; time.Since(begun) < 2*time.Second; n++ {
		if _, err := f.WriteAt(block, int64(n)*4096); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	return float64(n) / time.Since(begun).Seconds()
}

// durableWrites has 8 writers rewrite 10,000 objects of 1 KiB. The
// disk is measured right before and after, since its rate changes by the minute.
func durableWrites(t *testing.T, as figure) {
	const span = 5 * time.Second
	disk := syncRate(t)
	s := as.open(t)
	value := []byte(strings.Repeat("0123456789abcdef", 64))
	took := make([][]time.Duration, benchWriters)
	var bytes atomic.Int64
	before, begun := written(), time.Now()
	var wg sync.WaitGroup
	for w := range took {
		wg.Go(func() {
			for i := 0; time.Since(begun) < span; i++ {
				at := time.Now()
				op := meta.Op{Key: fmt.Sprintf("up/pods:status/%d/%d", w, i%1250), Value: value}
				if _, err := s.Apply(t.Context(), op); err != nil {
					t.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(at))
				bytes.Add(int64(len(op.Key) + len(op.Value)))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(took...)
	slices.Sort(all)
	stats := s.Stats()
	rate := float64(len(all)) / span.Seconds()
	disk = (disk + syncRate(t)) / 2
	as.result("durable_writes", rate, "1/s")
	as.result("durable_writes_share", 100*rate/(benchWriters*disk), "%") // of group_commit_bound
	as.result("durable_p50", all[len(all)/2].Seconds()*1e3, "ms")
	as.result("durable_p99", all[len(all)*99/100].Seconds()*1e3, "ms")
	as.result("batches_per_sync", float64(stats.Batches)/float64(stats.Commits), "batches")
	if before > 0 {
		as.result("write_amplification", float64(written()-before)/float64(bytes.Load()), "times")
	}
}

// written returns how many bytes this process has written to disks; 0 if the system does
// not say.
func written() (n int64) {
	text, _ := os.ReadFile("/proc/self/io")
	_, rest, _ := strings.Cut(string(text), "\nwrite_bytes:")
	_, _ = fmt.Sscan(rest, &n)
	return n
}

func list1000(t *testing.T, as figure) {
	s := as.open(t)
	fill(t, s, 1000)
	as.result("list_1000", median(t, 101, func() {
		if list, _, err := s.List(t.Context(), meta.Down); err != nil || len(list) != 1000 {
			t.Fatal(len(list), err)
		}
	}).Seconds()*1e3, "ms")
}

func open10000(t *testing.T, as figure) {
	cfg := badgerstore.Config{Dir: t.TempDir(), KeyFile: as.key}
	s := openAs(t, cfg)
	fill(t, s, 10_000)
	s.Close()
	as.result("open_10000", median(t, 11, func() { s = openAs(t, cfg) }, func() { s.Close() }).Seconds()*1e3, "ms")
}

// median times f several times; what follows each is not timed.
func median(t *testing.T, times int, f func(), after ...func()) time.Duration {
	t.Helper()
	var took []time.Duration
	for range times {
		begun := time.Now()
		f()
		took = append(took, time.Since(begun))
		for _, g := range after {
			g()
		}
	}
	slices.Sort(took)
	return took[times/2]
}

func storeMemory(t *testing.T, as figure) {
	t.Setenv(childKey, as.key)
	without, with := runResident(t, "nothing"), runResident(t, "memory")
	as.result("store_rss", float64(with-without)/1024, "MiB")
}

// hotKey rewrites one key of 1 KiB a million times, each in a commit of its own, beside
// 1,000 that rest. The folder is in memory where there is one, so that the syncs of a
// million commits take no time; the size of the files is the same.
func hotKey(t *testing.T) {
	const rewrites = 1_000_000
	dir, scratch := memoryDir(t), memoryDir(t)
	s := openAs(t, badgerstore.Config{Dir: dir, Scratch: scratch})
	defer s.Close()
	fill(t, s, 1000)
	value := make([]byte, 1024)
	var most int64
	for i := range rewrites {
		if _, err := s.Apply(t.Context(), meta.Op{Key: "local/hot", Value: value}); err != nil {
			t.Fatal(err)
		}
		if i%20_000 == 0 {
			most = max(most, s.Stats().DiskBytes)
		}
	}
	const live = 1001 * 1024
	disk := float64(s.Stats().DiskBytes)
	result("hot_key_disk", disk/(1<<20), "MiB")
	result("hot_key_disk_most", float64(most)/(1<<20), "MiB")
	result("hot_key_disk_ratio", max(0, disk-16<<20)/live, "times") // of what is beyond 16 MiB; the target is 3
	var log int64
	for _, name := range valueLogs(t, dir, scratch) {
		if info, err := os.Stat(name); err == nil {
			log += allocatedBytes(info)
		}
	}
	result("value_log_disk", float64(log)/1024, "KiB")
}
