package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/meta"
)

// Store is a prometheus.Collector for one store. Make it with NewStore.
type Store struct {
	stats func() meta.Stats
	all   []figure
	sync  *prometheus.Desc
}

// figure is one metric of meta.Stats.
type figure struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(meta.Stats) float64
}

var _ prometheus.Collector = (*Store)(nil)

// NewStore makes a collector of the Stats that the function returns, usually the Stats method of a
// store.
func NewStore(stats func() meta.Stats) *Store {
	s := &Store{stats: stats}
	add := func(kind prometheus.ValueType, name, help string, of func(meta.Stats) float64) {
		s.all = append(s.all, figure{prometheus.NewDesc("edgekit_store_"+name, help, nil, nil), kind, of})
	}
	const counter, gauge = prometheus.CounterValue, prometheus.GaugeValue
	add(gauge, "revision", "The newest revision.", func(s meta.Stats) float64 { return float64(s.Revision) })
	add(counter, "batches_total", "Batches made durable.", func(s meta.Stats) float64 { return float64(s.Batches) })
	add(counter, "operations_total", "Changes in the batches made durable.", func(s meta.Stats) float64 { return float64(s.Ops) })
	add(counter, "bytes_total", "Bytes of keys and values in the batches made durable.", func(s meta.Stats) float64 { return float64(s.Bytes) })
	add(counter, "refused_batches_total", "Batches refused since the disk is full, read-only or broken.", func(s meta.Stats) float64 { return float64(s.Refused) })
	add(gauge, "writable", "1 if the store can be written now, 0 if the disk is full, read-only or broken.", func(s meta.Stats) float64 {
		if s.Failure != nil {
			return 0
		}
		return 1
	})
	add(gauge, "watchers", "Watches under way.", func(s meta.Stats) float64 { return float64(s.Watchers) })
	add(counter, "lagging_watchers_total", "Watches ended since they did not keep up.", func(s meta.Stats) float64 { return float64(s.Lagged) })
	add(gauge, "snapshots", "Snapshots open.", func(s meta.Stats) float64 { return float64(s.Snapshots) })
	add(gauge, "pinned_revisions", "How many revisions back the oldest open snapshot is.", func(s meta.Stats) float64 { return float64(s.Pinned) })
	add(gauge, "disk_bytes", "Bytes that the store's files take.", func(s meta.Stats) float64 { return float64(s.DiskBytes) })
	add(gauge, "disk_free_bytes", "Bytes left on the store's disk.", func(s meta.Stats) float64 { return float64(s.FreeBytes) })
	add(gauge, "damaged_folders", "Damaged stores that were set aside and are kept.", func(s meta.Stats) float64 { return float64(s.Damaged) })
	s.sync = prometheus.NewDesc("edgekit_store_commit_seconds", "How long it took to make a group of batches durable.", nil, nil)
	return s
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(out chan<- *prometheus.Desc) {
	for _, f := range s.all {
		out <- f.desc
	}
	out <- s.sync
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(out chan<- prometheus.Metric) {
	stats := s.stats()
	for _, f := range s.all {
		out <- prometheus.MustNewConstMetric(f.desc, f.kind, f.of(stats))
	}
	buckets := make(map[float64]uint64, meta.LatencyBuckets)
	for i, n := range stats.Sync.Within {
		buckets[meta.LatencyBound(i).Seconds()] = n
	}
	out <- prometheus.MustNewConstHistogram(s.sync, stats.Sync.Count, stats.Sync.Sum.Seconds(), buckets)
}
