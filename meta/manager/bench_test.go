package manager_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/meta/manager"
)

// benchStore is a store with 1,000 objects of 8 KiB in each of the areas that the
// link and the cache of answers look through.
func benchStore(b *testing.B) meta.Store {
	b.Helper()
	s, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	for _, area := range []string{meta.Down, meta.Up, meta.Local + "manager/answers/"} {
		for from := 0; from < 1000; from += 50 {
			var ops []meta.Op
			for i := from; i < from+50; i++ {
				o := object("pods", fmt.Sprintf("pod-%05d", i), "")
				o.Version, o.Body = "1", make([]byte, 8<<10)
				ops = append(ops, meta.Op{Key: area + o.Key.Path(), Value: meta.EncodeObject(o)})
			}
			if _, err := s.Apply(b.Context(), ops...); err != nil {
				b.Fatal(err)
			}
		}
	}
	return s
}

// BenchmarkKeys measures how the manager lists keys and versions. Beside the usual
// figures it reports how much memory the answer holds.
func BenchmarkKeys(b *testing.B) {
	s := benchStore(b)
	next := 0
	for _, c := range []struct {
		name string
		do   func(m *manager.Manager) (any, error)
	}{
		{"down/versions", func(m *manager.Manager) (any, error) { return m.Down().Versions(b.Context()) }},
		{"up/versions", func(m *manager.Manager) (any, error) { return m.StateOutbox().Versions(b.Context()) }},
		{"report", func(m *manager.Manager) (any, error) { // the first of a new manager counts the area
			next++
			return nil, m.Update(b.Context(), object("nodes", fmt.Sprint(next), "x"))
		}},
		{"answer", func(m *manager.Manager) (any, error) {
			next++
			return nil, manager.Keep(m, b.Context(), object("configmaps", fmt.Sprint(next), "x"))
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var held any
			for b.Loop() {
				m, err := manager.New(manager.Config{Store: s, Node: "gate-7"})
				if err != nil {
					b.Fatal(err)
				}
				if held, err = c.do(m); err != nil {
					b.Fatal(err)
				}
			}
			var with, without runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&with)
			runtime.KeepAlive(held) // not needed from here on
			runtime.GC()
			runtime.ReadMemStats(&without)
			b.ReportMetric((float64(with.HeapAlloc)-float64(without.HeapAlloc))/1024, "held-KiB")
		})
	}
}

// BenchmarkAppend has 32 components report events at the same time; one operation
// is one event, durable in the outbox.
func BenchmarkAppend(b *testing.B) {
	s, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	m, err := manager.New(manager.Config{Store: s, Node: "gate-7"})
	if err != nil {
		b.Fatal(err)
	}
	const writers = 32
	var wg sync.WaitGroup
	b.ResetTimer()
	for w := range writers {
		wg.Go(func() {
			for i := w; i < b.N; i += writers {
				if err := m.Append(b.Context(), meta.Key{Resource: "events", Name: fmt.Sprint(w)}, []byte("it rained")); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(s.Stats().Batches)/float64(s.Stats().Commits), "batches/sync")
}
