package probemetrics

import (
	"io"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
)

// Counter counts the results of probes by pod, container and kind of probe. A
// count ends with its container. The zero value is ready for use, by several
// goroutines.
type Counter struct {
	mu     sync.Mutex
	counts map[probeKey]*[3]uint64 // by the index of its result in probeResults
}

// probeResults are the results that the kubelet counts, by its names. "unknown" is
// a probe that could not be made.
func probeResults() [3]string { return [...]string{"failed", "successful", "unknown"} }

// probeKey is what one count is about.
type probeKey struct{ namespace, pod, uid, container, kind string }

// Track returns what counts one probe's answers and errors, and what forgets them.
func (f *Counter) Track(pod *corev1.Pod, container, kind string) (answered func(ok bool), errored, forget func()) {
	key := probeKey{pod.Namespace, pod.Name, string(pod.UID), container, kind}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.counts == nil {
		f.counts = make(map[probeKey]*[3]uint64)
	}
	n := new([3]uint64)
	f.counts[key] = n
	add := func(i int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		n[i]++
	}
	answered = func(ok bool) {
		if ok {
			add(1)
		} else {
			add(0)
		}
	}
	forget = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.counts[key] == n {
			delete(f.counts, key)
		}
	}
	return answered, func() { add(2) }, forget
}

// Write writes the counts in Prometheus' text format, under the kubelet's name.
func (f *Counter) Write(w io.Writer) error {
	desc := prometheus.NewDesc("prober_probe_total", "Cumulative number of a liveness, readiness or startup probe for a container by result.",
		[]string{"container", "namespace", "pod", "pod_uid", "probe_type", "result"}, nil)
	return metricstext.Write(w, metricstext.Collect(func(out chan<- prometheus.Metric) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for k, counts := range f.counts {
			for i, result := range probeResults() {
				out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(counts[i]), k.container, k.namespace, k.pod, k.uid, k.kind, result)
			}
		}
	}))
}
