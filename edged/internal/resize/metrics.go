package resize

import (
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Metrics counts changes under the kubelet's names (pkg/kubelet/metrics of 1.37). It may
// be used by several goroutines.
type Metrics struct {
	requested, infeasible, accepted *prometheus.CounterVec
	durations, deferred             *prometheus.HistogramVec
	pending, inProgress             *prometheus.Desc
}

// What settles a deferred change.
const (
	Accepted   = "accepted"
	Reverted   = "reverted"
	Terminated = "terminated"
)

// NewMetrics makes Metrics in which everything is 0. The buckets are the kubelet's.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_" + name, Help: help, Buckets: buckets}, labels)
	}
	return &Metrics{
		requested: counter("container_requested_resizes_total", "Number of requested resizes, counted at the container level.",
			"operation", "requirement", "resource"),
		infeasible: counter("pod_infeasible_resizes_total", "Number of infeasible resizes for pods.", "reason_detail"),
		accepted: counter("pod_deferred_accepted_resizes_total",
			"Cumulative number of resizes that were accepted after being deferred.", "retry_trigger"),
		durations: histogram("pod_resize_duration_milliseconds", "Duration in milliseconds to actuate a pod resize",
			[]float64{10, 50, 100, 500, 1000, 2000, 5000, 10000, 20000, 30000, 60000, 120000, 300000, 600000}, "success"),
		deferred: histogram("pod_deferred_resize_duration_seconds", "Duration in seconds that a pod resize remains deferred before completion.",
			[]float64{5, 10, 15, 20, 30, 45, 60, 90, 120, 150, 180, 300, 600, 1200, 1800, 3600}, "priority_bucket", "resolution"),
		pending: prometheus.NewDesc("kubelet_pod_pending_resizes", "Number of pending resizes for pods.",
			[]string{"priority_bucket", "reason"}, nil),
		inProgress: prometheus.NewDesc("kubelet_pod_in_progress_resizes", "Number of in-progress resizes for pods.", nil, nil),
	}
}

// Requested counts what a new spec asks for, container by container.
func (m *Metrics) Requested(before, after *corev1.Pod) {
	for _, lists := range [][2][]corev1.Container{{before.Spec.InitContainers, after.Spec.InitContainers}, {before.Spec.Containers, after.Spec.Containers}} {
		for i := range min(len(lists[0]), len(lists[1])) {
			was, is := &lists[0][i].Resources, &lists[1][i].Resources
			for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
				for requirement, both := range map[string][2]corev1.ResourceList{"requests": {was.Requests, is.Requests}, "limits": {was.Limits, is.Limits}} {
					if op := operation(both[0], both[1], name); op != "" {
						m.requested.WithLabelValues(op, requirement, string(name)).Inc()
					}
				}
			}
		}
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
func (m *Metrics) Infeasible(detail string) { m.infeasible.WithLabelValues(detail).Inc() }

// DeferredAccepted counts a deferred change that was granted, by what had it tried
// again.
func (m *Metrics) DeferredAccepted(trigger string) { m.accepted.WithLabelValues(trigger).Inc() }

// Settled notes how long a change of that pod was deferred, and how that ended.
func (m *Metrics) Settled(pod *corev1.Pod, resolution string, waited time.Duration) {
	m.deferred.WithLabelValues(priorityBucket(pod), resolution).Observe(waited.Seconds())
}

// Done notes how long it took to set what was granted.
func (m *Metrics) Done(success bool, took time.Duration) {
	m.durations.WithLabelValues(strconv.FormatBool(success)).Observe(float64(took.Milliseconds()))
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

// Describe describes all metrics.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range m.counted() {
		c.Describe(ch)
	}
	ch <- m.pending
	ch <- m.inProgress
}

// Collect sends all metrics. The states are those of all pods.
func (m *Metrics) Collect(ch chan<- prometheus.Metric, states []State) {
	for _, c := range m.counted() {
		c.Collect(ch)
	}
	type labels struct{ priority, reason string }
	pending, progress := make(map[labels]int), 0
	for _, s := range states {
		if s.Pending != "" {
			pending[labels{priorityBucket(s.Pod), strings.ToLower(s.Pending)}]++
		}
		if s.InProgress {
			progress++
		}
	}
	for l, n := range pending {
		ch <- prometheus.MustNewConstMetric(m.pending, prometheus.GaugeValue, float64(n), l.priority, l.reason)
	}
	ch <- prometheus.MustNewConstMetric(m.inProgress, prometheus.GaugeValue, float64(progress))
}

func (m *Metrics) counted() []prometheus.Collector {
	return []prometheus.Collector{m.requested, m.infeasible, m.accepted, m.durations, m.deferred}
}
