package stats

import (
	"context"
	"io"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
)

// Resource writes what metrics-server reads, in Prometheus' text format, each
// value with its time. Names and labels are the kubelet's:
// https://kubernetes.io/docs/reference/instrumentation/metrics/. If something
// cannot be read resource_scrape_error says so, as metrics-server expects.
func (s *Stats) Resource(ctx context.Context, w io.Writer) error {
	return metricstext.Write(w, metricstext.Collect(func(out chan<- prometheus.Metric) {
		r := resources{out: out, sent: make(map[string]bool)}
		sum, _, err := s.usage(ctx)
		failed := 0.0
		if err != nil {
			failed = 1
		} else {
			r.summary(sum)
		}
		r.send(family{"resource_scrape_error", "1 if the metrics could not be read, 0 otherwise", prometheus.GaugeValue, nil}, failed, time.Time{})
		r.send(family{"scrape_error", "1 if the metrics could not be read, 0 otherwise", prometheus.GaugeValue, nil}, failed, time.Time{})
	}))
}

// resources sends the metrics of a summary to Prometheus.
type resources struct {
	out chan<- prometheus.Metric
	// sent has the series that were sent. The labels have no uid, so a pod that was
	// deleted by force and its successor have the same ones while both are here.
	sent map[string]bool
}

// family is a metric family: its name, its help, its type and the names of its labels.
type family struct {
	name, help string
	kind       prometheus.ValueType
	labels     []string
}

// send sends one value, with its time if it has one, unless the series was sent.
func (r *resources) send(f family, value float64, at time.Time, labels ...string) {
	for i := range labels {
		labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD") // the runtime gave them
	}
	series := strings.Join(append([]string{f.name}, labels...), "\x00")
	if r.sent[series] {
		return
	}
	r.sent[series] = true
	desc := prometheus.NewDesc(f.name, f.help, f.labels, nil)
	m, err := prometheus.NewConstMetric(desc, f.kind, value, labels...)
	if err != nil {
		m = prometheus.NewInvalidMetric(desc, err)
	} else if !at.IsZero() {
		m = prometheus.NewMetricWithTimestamp(at, m)
	}
	r.out <- m
}

// usage sends CPU time in seconds, the working set and the used swap in bytes, each
// if it is known. prefix is the beginning of the families' names, of is whose usage
// their help says it is.
func (r *resources) usage(prefix, of string, names []string, cpu *statsapi.CPUStats, memory *statsapi.MemoryStats, swap *statsapi.SwapStats, labels ...string) {
	if cpu != nil && cpu.UsageCoreNanoSeconds != nil {
		r.send(family{prefix + "_cpu_usage_seconds_total", "Cumulative cpu time consumed by the " + of + " in core-seconds", prometheus.CounterValue, names},
			float64(*cpu.UsageCoreNanoSeconds)/1e9, cpu.Time.Time, labels...)
	}
	if memory != nil && memory.WorkingSetBytes != nil {
		r.send(family{prefix + "_memory_working_set_bytes", "Current working set of the " + of + " in bytes", prometheus.GaugeValue, names},
			float64(*memory.WorkingSetBytes), memory.Time.Time, labels...)
	}
	if swap != nil && swap.SwapUsageBytes != nil {
		help := "Current swap usage of the " + of + " in bytes"
		if of != "node" { // the kubelet's own words differ
			help = "Current amount of the " + of + " swap usage in bytes"
		}
		r.send(family{prefix + "_swap_usage_bytes", help, prometheus.GaugeValue, names}, float64(*swap.SwapUsageBytes), swap.Time.Time, labels...)
	}
}

// summary sends the usage of the node, of its pods and of their containers.
func (r *resources) summary(sum *statsapi.Summary) {
	r.usage("node", "node", nil, sum.Node.CPU, sum.Node.Memory, sum.Node.Swap)
	container, pod := []string{"container", "namespace", "pod"}, []string{"namespace", "pod"}
	started := family{"container_start_time_seconds", "Start time of the container since unix epoch in seconds", prometheus.GaugeValue, container}
	for _, p := range sum.Pods {
		for _, c := range p.Containers {
			labels := []string{c.Name, p.PodRef.Namespace, p.PodRef.Name}
			if at := c.StartTime; !at.IsZero() {
				r.send(started, float64(at.UnixNano())/1e9, time.Time{}, labels...)
			}
			r.usage("container", "container", container, c.CPU, c.Memory, c.Swap, labels...)
			if c.Swap != nil && c.Swap.SwapAvailableBytes != nil {
				limit := *c.Swap.SwapAvailableBytes
				if used := c.Swap.SwapUsageBytes; used != nil {
					limit += *used
				}
				r.send(family{"container_swap_limit_bytes", "Current amount of the container swap limit in bytes", prometheus.GaugeValue, container}, float64(limit), c.Swap.Time.Time, labels...)
			}
		}
		r.usage("pod", "pod", pod, p.CPU, p.Memory, p.Swap, p.PodRef.Namespace, p.PodRef.Name)
	}
}
