package twin_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

func BenchmarkUpdate(b *testing.B) {
	for _, inflight := range []int{1, 32} {
		b.Run(fmt.Sprintf("inflight=%d", inflight), func(b *testing.B) {
			engine := run(b, memstore.New())
			for i := range 32 {
				if err := engine.Put(b.Context(), fmt.Sprintf("bench/d%d", i), twin.Put{}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetParallelism(max(1, inflight/2)) // times two processors
			if inflight == 1 {
				for i := 0; b.Loop(); i++ {
					update(b, engine, 0, i)
				}
				return
			}
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					i := int(n.Add(1))
					update(b, engine, i%32, i)
				}
			})
		})
	}
}

func update(b *testing.B, engine *twin.Engine, device, value int) {
	_, err := engine.Update(b.Context(), fmt.Sprintf("bench/d%d", device), map[string]*twin.Patch{
		"temperature": {Actual: twin.Text(fmt.Sprint(value)), Type: "int"},
	})
	if err != nil {
		b.Error(err)
	}
}
