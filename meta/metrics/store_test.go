package metrics_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/meta/metrics"
)

func TestStore(t *testing.T) {
	stats := meta.Stats{Batches: 7, Failure: meta.ErrFailed, DiskBytes: 99}
	for _, d := range []time.Duration{time.Microsecond, 3 * time.Millisecond, time.Hour} {
		stats.Sync.Add(d)
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(metrics.NewStore(func() meta.Stats { return stats }))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		m := f.Metric[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		if h := m.GetHistogram(); h != nil {
			got[f.GetName()] = float64(h.GetSampleCount())
			if in := h.Bucket[4].GetCumulativeCount(); in != 2 { // 4 ms
				t.Errorf("%d commits within 4 ms, want 2", in)
			}
		}
	}
	for name, want := range map[string]float64{
		"edgekit_store_batches_total": 7, "edgekit_store_writable": 0, "edgekit_store_disk_bytes": 99, "edgekit_store_commit_seconds": 3,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
}

func ExampleNewStore() {
	store := memstore.New()
	defer store.Close()
	registry := prometheus.NewRegistry()
	registry.MustRegister(metrics.NewStore(store.Stats))
	families, err := registry.Gather()
	fmt.Println(len(families) > 10, err)
	// Output: true <nil>
}
