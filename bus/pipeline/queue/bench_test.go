package queue

import (
	"testing"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// BenchmarkAppend appends batches of 100 events to a queue on the disk.
func BenchmarkAppend(b *testing.B) {
	for _, kind := range []string{"none", "zstd"} {
		b.Run(kind, func(b *testing.B) {
			one := openQueue(b, newQueues(b, openStore(b, b.TempDir()), nil), sinkSpec(packedAs(kind), sizeOf("8Gi")))
			list := events(0, 100)
			b.ReportAllocs()
			for b.Loop() {
				appendAll(b, one, list...)
			}
			b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "events/s")
			b.ReportMetric(float64(one.Stats().Bytes)/float64(100*b.N), "disk-B/event")
		})
	}
}

// BenchmarkReplay takes and removes a backlog on the disk, 100 events at a time.
func BenchmarkReplay(b *testing.B) {
	for _, kind := range []string{"none", "zstd"} {
		b.Run(kind, func(b *testing.B) {
			store := openStore(b, b.TempDir())
			one := openQueue(b, newQueues(b, store, nil), sinkSpec(packedAs(kind), sizeOf("8Gi")))
			var list []pipeline.Event
			for range 100 {
				list = append(list, events(0, 100)...)
			}
			for one.Stats().Events < int64(100*b.N) {
				appendAll(b, one, list...)
			}
			one.Close()
			one = openQueue(b, newQueues(b, store, nil), sinkSpec())
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				take(b, one)
			}
			b.ReportMetric(float64(100*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
