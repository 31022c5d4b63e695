package stats

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Resource writes what metrics-server reads, in Prometheus' text format, each
// value with its time. Names and labels are the kubelet's:
// https://kubernetes.io/docs/reference/instrumentation/metrics/. If something
// cannot be read resource_scrape_error says so, as metrics-server expects.
func (s *Stats) Resource(ctx context.Context, w io.Writer) error {
	var out text
	sum, err := s.Summary(ctx)
	failed := 0.0
	if err != nil {
		failed = 1
	} else {
		out.resource(sum)
	}
	out.family("resource_scrape_error", "gauge", "1 if the metrics could not be read, 0 otherwise")
	out.sample("resource_scrape_error", "", failed, time.Time{})
	out.family("scrape_error", "gauge", "1 if the metrics could not be read, 0 otherwise")
	out.sample("scrape_error", "", failed, time.Time{})
	_, err = w.Write(out.b.Bytes())
	return err
}

// text writes Prometheus' text format.
type text struct{ b bytes.Buffer }

// family begins a metric family.
func (t *text) family(name, kind, help string) {
	fmt.Fprintf(&t.b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one value, with its time in milliseconds if it has one.
func (t *text) sample(name, labels string, value float64, at time.Time) {
	t.b.WriteString(name)
	if labels != "" {
		t.b.WriteString("{" + labels + "}")
	}
	t.b.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64))
	if !at.IsZero() {
		t.b.WriteString(" " + strconv.FormatInt(at.UnixMilli(), 10))
	}
	t.b.WriteByte('\n')
}

// cpu writes the CPU time, in seconds.
func (t *text) cpu(name, labels string, c *statsapi.CPUStats) {
	if c != nil && c.UsageCoreNanoSeconds != nil {
		t.sample(name, labels, float64(*c.UsageCoreNanoSeconds)/1e9, c.Time.Time)
	}
}

// memory writes the working set, in bytes.
func (t *text) memory(name, labels string, m *statsapi.MemoryStats) {
	if m != nil && m.WorkingSetBytes != nil {
		t.sample(name, labels, float64(*m.WorkingSetBytes), m.Time.Time)
	}
}

// swap writes the used swap, in bytes.
func (t *text) swap(name, labels string, s *statsapi.SwapStats) {
	if s != nil && s.SwapUsageBytes != nil {
		t.sample(name, labels, float64(*s.SwapUsageBytes), s.Time.Time)
	}
}

// resource writes the values family by family, as the format demands.
func (t *text) resource(sum *statsapi.Summary) {
	containers := func(each func(labels string, c *statsapi.ContainerStats)) {
		for i := range sum.Pods {
			p := &sum.Pods[i]
			for j := range p.Containers {
				c := &p.Containers[j]
				each(`container="`+escape(c.Name)+`",`+podLabels(p), c)
			}
		}
	}
	pods := func(each func(labels string, p *statsapi.PodStats)) {
		for i := range sum.Pods {
			each(podLabels(&sum.Pods[i]), &sum.Pods[i])
		}
	}
	t.family("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds")
	t.cpu("node_cpu_usage_seconds_total", "", sum.Node.CPU)
	t.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes")
	t.memory("node_memory_working_set_bytes", "", sum.Node.Memory)
	t.family("node_swap_usage_bytes", "gauge", "Current swap usage of the node in bytes")
	t.swap("node_swap_usage_bytes", "", sum.Node.Swap)

	t.family("container_start_time_seconds", "gauge", "Start time of the container since unix epoch in seconds")
	containers(func(labels string, c *statsapi.ContainerStats) {
		if !c.StartTime.IsZero() {
			t.sample("container_start_time_seconds", labels, float64(c.StartTime.UnixNano())/1e9, time.Time{})
		}
	})
	t.family("container_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the container in core-seconds")
	containers(func(labels string, c *statsapi.ContainerStats) {
		t.cpu("container_cpu_usage_seconds_total", labels, c.CPU)
	})
	t.family("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes")
	containers(func(labels string, c *statsapi.ContainerStats) {
		t.memory("container_memory_working_set_bytes", labels, c.Memory)
	})
	t.family("container_swap_usage_bytes", "gauge", "Current amount of the container swap usage in bytes")
	containers(func(labels string, c *statsapi.ContainerStats) { t.swap("container_swap_usage_bytes", labels, c.Swap) })

	t.family("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds")
	pods(func(labels string, p *statsapi.PodStats) { t.cpu("pod_cpu_usage_seconds_total", labels, p.CPU) })
	t.family("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes")
	pods(func(labels string, p *statsapi.PodStats) { t.memory("pod_memory_working_set_bytes", labels, p.Memory) })
	t.family("pod_swap_usage_bytes", "gauge", "Current amount of the pod swap usage in bytes")
	pods(func(labels string, p *statsapi.PodStats) { t.swap("pod_swap_usage_bytes", labels, p.Swap) })
}

// podLabels are the labels of a pod's metrics.
func podLabels(p *statsapi.PodStats) string {
	return `namespace="` + escape(p.PodRef.Namespace) + `",pod="` + escape(p.PodRef.Name) + `"`
}

// escape makes the value of a label safe. Names in Kubernetes need no escaping,
// but these come from outside.
func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}
