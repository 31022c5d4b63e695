package main

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/internal/nodestate"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/meta/resources"
	"github.com/edgekit/edgekit/twin"
)

// When a node is degraded.
const (
	degradedFill        = 90              // percent of the disk of the store
	degradedClock       = time.Minute     // ahead of the cloud's clock, or behind
	degradedCertificate = 24 * time.Hour  // until its end
	lookEvery           = time.Minute     // between two looks at the figures
	reportEvery         = time.Hour       // between two reports that change no status
	leastClock          = 2 * time.Second // below this a change of the clock is no reason to report
	leastFill           = 5               // likewise, in percent
)

// figures are what this node reports of itself for the aggregates of the fleet, as a condition of the
// Node. A report of the Node travels whenever its text changes, so the text changes seldom: at once
// when the status or the reason changes, else once in reportEvery, and only if a figure has changed
// enough.
type figures struct {
	dir        string // of the store
	identity   func() join.IdentityStats
	clockAhead func(time.Time) (time.Duration, bool)
	devices    func() []twin.Device // nil before it is made

	mu        sync.Mutex
	looked    time.Time // zero before the first look
	reported  time.Time
	now, said resources.Figures
	status    corev1.ConditionStatus
	reason    string
}

// condition is the Node's condition. Times are left to the agent.
func (f *figures) condition(now time.Time) corev1.NodeCondition {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.looked.IsZero() || now.Sub(f.looked) >= lookEvery || now.Before(f.looked) {
		f.looked, f.now = now, f.look(now)
		status, reason := verdict(f.now, now)
		if status != f.status || reason != f.reason || (now.Sub(f.reported) >= reportEvery || now.Before(f.reported)) && changed(f.said, f.now) {
			f.status, f.reason, f.said, f.reported = status, reason, f.now, now
		}
	}
	return corev1.NodeCondition{Type: resources.ConditionDegraded, Status: f.status, Reason: f.reason, Message: f.said.String()}
}

// look reads the figures.
func (f *figures) look(now time.Time) resources.Figures {
	out := resources.Figures{TwinsStale: f.stale(now), Certificate: f.identity().Certificate}
	if d, ok := nodestate.DiskOf(f.dir); ok && d.TotalBytes > 0 {
		out.StoreFill = int(100 * (1 - float64(d.FreeBytes)/float64(d.TotalBytes)))
	}
	if ahead, known := f.clockAhead(now); known {
		out.ClockAhead = ahead.Round(time.Second)
	}
	return out
}

// stale counts the twins whose actual value is no longer good.
func (f *figures) stale(now time.Time) int {
	if f.devices == nil {
		return 0
	}
	n := 0
	for _, d := range f.devices() {
		for name := range d.Twins {
			if d.Quality(name, now) == twin.Stale {
				n++
			}
		}
	}
	return n
}

// verdict says whether somebody has to look at the node, and why: the first of several reasons.
func verdict(f resources.Figures, now time.Time) (corev1.ConditionStatus, string) {
	switch {
	case !f.Certificate.IsZero() && f.Certificate.Sub(now) < degradedCertificate:
		return corev1.ConditionTrue, resources.ReasonCertificateExpiring
	case f.StoreFill >= degradedFill:
		return corev1.ConditionTrue, resources.ReasonStoreNearlyFull
	case f.ClockAhead.Abs() >= degradedClock:
		return corev1.ConditionTrue, resources.ReasonClockSkewed
	}
	return corev1.ConditionFalse, resources.ReasonAsExpected
}

// changed reports whether a figure differs enough from what was reported to report it again.
func changed(said, now resources.Figures) bool {
	fill, clock := now.StoreFill-said.StoreFill, (now.ClockAhead - said.ClockAhead).Abs()
	return fill >= leastFill || fill <= -leastFill || clock >= max(leastClock, said.ClockAhead.Abs()/4) ||
		now.TwinsStale != said.TwinsStale || !now.Certificate.Equal(said.Certificate)
}

// nodeMetrics are the metrics of the figures.
type nodeMetrics struct {
	figures          *figures
	size, ahead, old *prometheus.Desc
}

func newNodeMetrics(f *figures) nodeMetrics {
	return nodeMetrics{
		figures: f,
		size:    prometheus.NewDesc("edgekit_store_disk_size_bytes", "Bytes of the whole disk that the store is on; what is left of them is edgekit_store_disk_free_bytes.", nil, nil),
		ahead:   prometheus.NewDesc("edgekit_clock_skew_seconds", "How far this node's clock is ahead of the cloud's; below 0 if it is behind. Exact to half a round trip. No series before the first keepalive.", nil, nil),
		old:     prometheus.NewDesc("edgekit_twins_stale", "Twins whose actual value is older than it may be, or whose device is offline.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (m nodeMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- m.size
	out <- m.ahead
	out <- m.old
}

// Collect implements prometheus.Collector.
func (m nodeMetrics) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) { out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v) }
	now := time.Now()
	if d, ok := nodestate.DiskOf(m.figures.dir); ok {
		gauge(m.size, float64(d.TotalBytes))
	}
	if ahead, known := m.figures.clockAhead(now); known {
		gauge(m.ahead, ahead.Seconds())
	}
	gauge(m.old, float64(m.figures.stale(now)))
}
