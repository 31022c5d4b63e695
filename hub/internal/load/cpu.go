package load

import (
	"runtime/metrics"
	"time"
)

const (
	// longWait is how long a runnable goroutine may wait before the CPU counts as short.
	// It is less than the shortest time after which QUIC sends an unanswered packet
	// again, 26 ms (RFC 9002 section 6.2.1).
	longWait = 10 * time.Millisecond
	// lookEvery is how often the runtime is asked.
	lookEvery = 50 * time.Millisecond
)

// CPU reports whether the CPU is short. When it is, each new connection delays the
// packets of those under way. QUIC takes late packets for lost and sends them again,
// which needs even more CPU. The zero value is ready. One goroutine at a time may use it.
type CPU struct {
	looked time.Time
	sample [1]metrics.Sample
	all    uint64 // waits counted at the last look
	long   uint64 // of these, how many were long
	short  bool
}

// Short reports whether one in ten goroutines has waited for longWait lately.
func (l *CPU) Short(now time.Time) bool {
	if now.Sub(l.looked) < lookEvery {
		return l.short
	}
	l.looked = now
	l.sample[0].Name = "/sched/latencies:seconds"
	metrics.Read(l.sample[:])
	if l.sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return false // this runtime does not report it
	}
	waits := l.sample[0].Value.Float64Histogram()
	var all, long uint64
	for i, n := range waits.Counts {
		all += n
		if waits.Buckets[i] >= longWait.Seconds() {
			long += n
		}
	}
	l.short = 10*(long-l.long) > all-l.all
	l.all, l.long = all, long
	return l.short
}
