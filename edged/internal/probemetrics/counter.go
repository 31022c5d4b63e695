package probemetrics

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
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
	f.mu.Lock()
	defer f.mu.Unlock()
	var out strings.Builder
	out.WriteString("# HELP prober_probe_total Cumulative number of a liveness, readiness or startup probe for a container by result.\n# TYPE prober_probe_total counter\n")
	keys := slices.SortedFunc(maps.Keys(f.counts), func(a, b probeKey) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.pod, b.pod), strings.Compare(a.uid, b.uid),
			strings.Compare(a.container, b.container), strings.Compare(a.kind, b.kind))
	})
	for _, k := range keys {
		for i, result := range probeResults() {
			fmt.Fprintf(&out, "prober_probe_total{container=%q,namespace=%q,pod=%q,pod_uid=%q,probe_type=%q,result=%q} %d\n",
				k.container, k.namespace, k.pod, k.uid, k.kind, result, f.counts[k][i])
		}
	}
	_, err := io.WriteString(w, out.String())
	return err
}
