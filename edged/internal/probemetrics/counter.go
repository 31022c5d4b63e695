package probemetrics

import (
	"io"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
)

// Counter counts the results of probes by pod, container and kind of probe. A
// count ends with its container. The zero value is ready for use, by several
// goroutines.
type Counter struct {
	mu     sync.Mutex
	counts map[probeKey]*Count
}

// Count counts one probe of one container.
type Count struct {
	of      *Counter
	key     probeKey
	results [3]uint64 // by the index of its result in probeResults
	tries   uint64
	took    time.Duration // all of them
}

// probeResults are the results that the kubelet counts, by its names. "unknown" is
// a probe that could not be made.
func probeResults() [3]string { return [...]string{"failed", "successful", "unknown"} }

// probeKey is what one count is about.
type probeKey struct{ namespace, pod, uid, container, kind string }

// Track makes the Count of a probe, which takes the place of an older one of the same probe.
func (f *Counter) Track(pod *corev1.Pod, container, kind string) *Count {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = make(map[probeKey]*Count)
	}
	c := &Count{of: f, key: probeKey{pod.Namespace, pod.Name, string(pod.UID), container, kind}}
	f.counts[c.key] = c
	return c
}

// Answered counts an answer, good or not.
func (c *Count) Answered(ok bool) {
	if ok {
		c.add(1)
	} else {
		c.add(0)
	}
}

// Errored counts a try that had no answer.
func (c *Count) Errored() { c.add(2) }

func (c *Count) add(result int) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.results[result]++
}

// Asked counts how long a try took.
func (c *Count) Asked(took time.Duration) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.tries++
	c.took += took
}

// Forget ends the count, unless another one took its place.
func (c *Count) Forget() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.of.counts[c.key] == c {
		delete(c.of.counts, c.key)
	}
}

// Write writes the counts in Prometheus' text format, under the kubelet's names. That of durations
// has no buckets, as the kubelet's.
func (f *Counter) Write(w io.Writer) error {
	desc := prometheus.NewDesc("prober_probe_total", "Cumulative number of a liveness, readiness or startup probe for a container by result.",
		[]string{"container", "namespace", "pod", "pod_uid", "probe_type", "result"}, nil)
	took := prometheus.NewDesc("prober_probe_duration_seconds", "Duration in seconds of the tries of a probe.", []string{"container", "namespace", "pod", "probe_type"}, nil)
	return metricstext.Write(w, metricstext.Collect(func(out chan<- prometheus.Metric) {
		f.mu.Lock()
		defer f.mu.Unlock()
		durations := make(map[probeKey]*Count) // without uids: a pod and its successor may both be there
		for k, c := range f.counts {
			for i, result := range probeResults() {
				out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(c.results[i]), k.container, k.namespace, k.pod, k.uid, k.kind, result)
			}
			k.uid = ""
			sum := durations[k]
			if sum == nil {
				sum = &Count{}
				durations[k] = sum
			}
			sum.tries, sum.took = sum.tries+c.tries, sum.took+c.took
		}
		for k, c := range durations {
			out <- prometheus.MustNewConstHistogram(took, c.tries, c.took.Seconds(), nil, k.container, k.namespace, k.pod, k.kind)
		}
	}))
}
