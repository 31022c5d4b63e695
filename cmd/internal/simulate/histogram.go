package simulate

import (
	"math"
	"sync/atomic"
	"time"
)

// The buckets of a histogram: each is growth times as wide as the one before, from least on.
const (
	least   = 100 * time.Microsecond
	growth  = 1.02
	buckets = 900 // up to 90 minutes
)

// histogram counts durations in buckets, so that its size is fixed. A quantile is right to 2 %.
// The zero value is empty; it may be used by several goroutines at once.
type histogram struct {
	counts [buckets]atomic.Uint64
	most   atomic.Int64 // the longest
}

func (h *histogram) add(d time.Duration) {
	i := 0
	if d > least {
		i = min(buckets-1, int(math.Log(float64(d)/float64(least))/math.Log(growth))+1)
	}
	h.counts[i].Add(1)
	for {
		was := h.most.Load()
		if int64(d) <= was || h.most.CompareAndSwap(was, int64(d)) {
			return
		}
	}
}

// Latency is a distribution of durations.
type Latency struct {
	Count         uint64
	P50, P99, Max time.Duration
}

func (h *histogram) read() Latency {
	var counts [buckets]uint64
	l := Latency{Max: time.Duration(h.most.Load())}
	for i := range counts {
		counts[i] = h.counts[i].Load()
		l.Count += counts[i]
	}
	l.P50, l.P99 = min(quantile(counts[:], l.Count, 0.50), l.Max), min(quantile(counts[:], l.Count, 0.99), l.Max)
	return l
}

// quantile returns the upper bound of the bucket that has the quantile.
func quantile(counts []uint64, all uint64, q float64) time.Duration {
	if all == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(all)))
	for i, n := range counts {
		if n >= rank {
			return time.Duration(float64(least) * math.Pow(growth, float64(i)))
		}
		rank -= n
	}
	return 0
}

// reset forgets what was counted until now.
func (h *histogram) reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
	h.most.Store(0)
}
