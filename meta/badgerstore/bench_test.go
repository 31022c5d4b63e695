package badgerstore_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// BenchmarkDurableWrites: 8 writers store objects of 1 KiB, and each write is synced
// before it returns. One operation is one write.
func BenchmarkDurableWrites(b *testing.B) {
	s := open(b, b.TempDir())
	value := make([]byte, 1024)
	took := make([][]time.Duration, 8)
	b.SetBytes(1024)
	b.ResetTimer()
	var wg sync.WaitGroup
	for w := range took {
		wg.Go(func() {
			for i := w; i < b.N; i += len(took) {
				begun := time.Now()
				if _, err := s.Apply(b.Context(), meta.Op{Key: fmt.Sprintf("up/pods:status/%d/%d", w, i%1250), Value: value}); err != nil {
					b.Error(err)
					return
				}
				took[w] = append(took[w], time.Since(begun))
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	all := slices.Concat(took...)
	slices.Sort(all)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	b.ReportMetric(all[len(all)*99/100].Seconds()*1000, "p99-ms")
}

// fill stores n objects of 1 KiB.
func fill(tb testing.TB, s meta.Store, n int) {
	tb.Helper()
	for from := 0; from < n; from += 100 {
		var ops []meta.Op
		for i := from; i < min(from+100, n); i++ {
			ops = append(ops, meta.Op{Key: fmt.Sprintf("down/pods/default/pod-%05d", i), Value: make([]byte, 1024)})
		}
		if _, err := s.Apply(tb.Context(), ops...); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkList1000 lists 1,000 objects of 1 KiB.
func BenchmarkList1000(b *testing.B) {
	s := open(b, b.TempDir())
	fill(b, s, 1000)
	for b.Loop() {
		if list, _, err := s.List(b.Context(), meta.Down); err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
	}
}

// BenchmarkOpen10000 opens a store with 10,000 objects of 1 KiB.
func BenchmarkOpen10000(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir)
	fill(b, s, 10_000)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := badgerstore.Open(badgerstore.Config{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkHotKey writes one key of 1 KiB again and again beside 1,000 that rest, and
// reports the size of the files in relation to the live data.
func BenchmarkHotKey(b *testing.B) {
	s := open(b, b.TempDir())
	fill(b, s, 1000)
	value := make([]byte, 1024)
	for b.Loop() {
		if _, err := s.Apply(b.Context(), meta.Op{Key: "local/hot", Value: value}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.Stats().DiskBytes)/(1<<20), "disk-MiB")
}
