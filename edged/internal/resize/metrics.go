package resize

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Metrics counts changes under the kubelet's names (pkg/kubelet/metrics of 1.37). The
// zero value is ready for use, by several goroutines.
type Metrics struct {
	mu         sync.Mutex
	requested  map[string]uint64 // by labels
	infeasible map[string]uint64
	accepted   map[string]uint64
	durations  map[string]*histogram
	deferred   map[string]*histogram
}

// What settles a deferred change.
const (
	Accepted   = "accepted"
	Reverted   = "reverted"
	Terminated = "terminated"
)

// The buckets of the two histograms, the kubelet's.
func durationBuckets() []float64 {
	return []float64{10, 50, 100, 500, 1000, 2000, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 600000}
}

func deferredBuckets() []float64 {
	return []float64{5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 300, 600, 1200, 1800, 3600}
}

// histogram counts values by the first bucket that is large enough.
type histogram struct {
	bounds []float64
	counts []uint64 // one more than bounds
	sum    float64
}

func (h *histogram) add(v float64) {
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i]++
	h.sum += v
}

// Requested counts what a new spec asks for, container by container.
func (m *Metrics) Requested(before, after *corev1.Pod) {
	var labels []string
	for _, lists := range [][2][]corev1.Container{{before.Spec.InitContainers, after.Spec.InitContainers}, {before.Spec.Containers, after.Spec.Containers}} {
		for i := range min(len(lists[0]), len(lists[1])) {
			was, is := &lists[0][i].Resources, &lists[1][i].Resources
			for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
				for requirement, both := range map[string][2]corev1.ResourceList{"requests": {was.Requests, is.Requests}, "limits": {was.Limits, is.Limits}} {
					if op := operation(both[0], both[1], name); op != "" {
						labels = append(labels, fmt.Sprintf("operation=%q,requirement=%q,resource=%q", op, requirement, name))
					}
				}
			}
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range labels {
		count(&m.requested, l)
	}
}

// operation names a change of one amount; "" is none.
func operation(before, after corev1.ResourceList, name corev1.ResourceName) string {
	x, y := before[name], after[name]
	switch order := y.Cmp(x); {
	case order == 0:
		return ""
	case y.IsZero():
		return "remove"
	case x.IsZero():
		return "add"
	case order < 0:
		return "decrease"
	}
	return "increase"
}

// Infeasible counts a change that the node can never make.
func (m *Metrics) Infeasible(detail string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count(&m.infeasible, fmt.Sprintf("reason_detail=%q", detail))
}

// DeferredAccepted counts a deferred change that was granted, by what had it tried
// again.
func (m *Metrics) DeferredAccepted(trigger string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count(&m.accepted, fmt.Sprintf("retry_trigger=%q", trigger))
}

// Settled notes how long a change of that pod was deferred, and how that ended.
func (m *Metrics) Settled(pod *corev1.Pod, resolution string, waited time.Duration) {
	m.observe(&m.deferred, fmt.Sprintf("priority_bucket=%q,resolution=%q", priorityBucket(pod), resolution), deferredBuckets, waited.Seconds())
}

// Done notes how long it took to set what was granted.
func (m *Metrics) Done(success bool, took time.Duration) {
	m.observe(&m.durations, fmt.Sprintf("success=%q", strconv.FormatBool(success)), durationBuckets, float64(took.Milliseconds()))
}

func (m *Metrics) observe(all *map[string]*histogram, labels string, bounds func() []float64, v float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *all == nil {
		*all = make(map[string]*histogram)
	}
	h := (*all)[labels]
	if h == nil {
		b := bounds()
		h = &histogram{bounds: b, counts: make([]uint64, len(b)+1)}
		(*all)[labels] = h
	}
	h.add(v)
}

func count(all *map[string]uint64, labels string) {
	if *all == nil {
		*all = make(map[string]uint64)
	}
	(*all)[labels]++
}

// priorityBucket classes the priority of a pod as the kubelet's metrics do.
func priorityBucket(pod *corev1.Pod) string {
	if pod.Spec.Priority == nil || *pod.Spec.Priority == 0 {
		return "normal"
	}
	switch p := *pod.Spec.Priority; {
	case p >= 2_000_000_000:
		return "system-critical"
	case p >= 100_000:
		return "high"
	case p > 0:
		return "medium"
	case p > -1000:
		return "low"
	}
	return "very-low"
}

// State is what of a pod's changes is open now.
type State struct {
	Pod        *corev1.Pod
	Pending    string // the reason of the condition PodResizePending; "" if it has none
	InProgress bool
}

// Write writes all in Prometheus' text format. The states are those of all pods.
func (m *Metrics) Write(w io.Writer, states []State) error {
	pending, progress := make(map[string]uint64), uint64(0)
	for _, s := range states {
		if s.Pending != "" {
			pending[fmt.Sprintf("priority_bucket=%q,reason=%q", priorityBucket(s.Pod), strings.ToLower(s.Pending))]++
		}
		if s.InProgress {
			progress++
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out strings.Builder
	family := func(name, kind, help string, values map[string]uint64) {
		fmt.Fprintf(&out, "# HELP kubelet_%s %s\n# TYPE kubelet_%s %s\n", name, help, name, kind)
		for _, labels := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(&out, "kubelet_%s{%s} %d\n", name, labels, values[labels])
		}
	}
	family("container_requested_resizes_total", "counter", "Number of requested resizes, counted at the container level.", m.requested)
	family("pod_infeasible_resizes_total", "counter", "Number of infeasible resizes for pods.", m.infeasible)
	family("pod_deferred_accepted_resizes_total", "counter", "Cumulative number of resizes that were accepted after being deferred.", m.accepted)
	family("pod_pending_resizes", "gauge", "Number of pending resizes for pods.", pending)
	fmt.Fprintf(&out, "# HELP kubelet_pod_in_progress_resizes Number of in-progress resizes for pods.\n# TYPE kubelet_pod_in_progress_resizes gauge\nkubelet_pod_in_progress_resizes %d\n", progress)
	writeHistograms(&out, "pod_resize_duration_milliseconds", "Duration in milliseconds to actuate a pod resize", m.durations)
	writeHistograms(&out, "pod_deferred_resize_duration_seconds", "Duration in seconds that a pod resize remains deferred before completion.", m.deferred)
	_, err := io.WriteString(w, out.String())
	return err
}

func writeHistograms(out *strings.Builder, name, help string, all map[string]*histogram) {
	fmt.Fprintf(out, "# HELP kubelet_%s %s\n# TYPE kubelet_%s histogram\n", name, help, name)
	for _, labels := range slices.Sorted(maps.Keys(all)) {
		h, total := all[labels], uint64(0)
		for i, n := range h.counts {
			total += n
			bound := "+Inf"
			if i < len(h.bounds) {
				bound = strconv.FormatFloat(h.bounds[i], 'g', -1, 64)
			}
			fmt.Fprintf(out, "kubelet_%s_bucket{%s,le=%q} %d\n", name, labels, bound, total)
		}
		fmt.Fprintf(out, "kubelet_%s_sum{%s} %s\nkubelet_%s_count{%s} %d\n", name, labels, strconv.FormatFloat(h.sum, 'g', -1, 64), name, labels, total)
	}
}
