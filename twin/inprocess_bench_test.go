package twin_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta/badgerstore"
	"github.com/edgekit/edgekit/twin"
)

// BenchmarkInprocess measures updates of a program that embeds the engine, on a store on
// disk: many are under way at a time, and one sync makes many durable.
func BenchmarkInprocess(b *testing.B) {
	store, err := badgerstore.Open(badgerstore.Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	engine := run(b, store)
	const devices, properties = 100, 10
	for i := range devices {
		put := twin.Put{}
		for p := range properties {
			put.Properties = append(put.Properties, twin.Declaration{Name: fmt.Sprint("p", p), Type: "int"})
		}
		if err := engine.Put(b.Context(), fmt.Sprint("bench/d", i), put); err != nil {
			b.Fatal(err)
		}
	}
	done := make(chan struct{}, 1<<16)
	stop := engine.Subscribe(func(c twin.Commit) {
		if c.Err() != nil {
			b.Error(c.Err())
		}
		done <- struct{}{}
	})
	defer stop()
	b.ReportAllocs()
	ids, names := make([]string, devices), make([]string, properties)
	for i := range ids {
		ids[i] = fmt.Sprint("bench/d", i)
	}
	for i := range names {
		names[i] = fmt.Sprint("p", i)
	}
	sent, got, cpu := 0, 0, cpuTime()
	for b.Loop() {
		value := fmt.Sprint(sent)
		if err := engine.Submit(b.Context(), twin.Call{Device: ids[sent%devices], Request: twin.Update{Twins: map[string]*twin.Patch{names[sent/devices%properties]: {Actual: &value}}}}); err != nil {
			b.Fatal(err)
		}
		sent++
		for sent-got > 4096 {
			<-done
			got++
		}
	}
	for ; got < sent; got++ {
		<-done
	}
	b.ReportMetric(float64((cpuTime()-cpu).Microseconds())/float64(sent), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "updates/s")
}

// cpuTime is the processor time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
