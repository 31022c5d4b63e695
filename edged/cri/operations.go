package cri

import (
	"context"
	"path"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
)

// operations counts the calls of a runtime under the kubelet's names.
type operations struct {
	calls, failed *prometheus.CounterVec
	took          *prometheus.HistogramVec
}

// newOperations makes operations in which everything is 0. The buckets are the
// kubelet's.
func newOperations() *operations {
	const label = "operation_type"
	return &operations{
		calls:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_total", Help: "Cumulative number of runtime operations by operation type."}, []string{label}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_errors_total", Help: "Cumulative number of runtime operation errors by operation type."}, []string{label}),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "kubelet_runtime_operations_duration_seconds", Help: "Duration in seconds of runtime operations. Broken down by operation type.", Buckets: prometheus.ExponentialBuckets(.005, 2.5, 14),
		}, []string{label}),
	}
}

// intercept counts one call.
func (o *operations) intercept(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	began, name := time.Now(), operation(method)
	o.calls.WithLabelValues(name).Inc()
	err := invoke(ctx, method, req, reply, conn, opts...)
	o.took.WithLabelValues(name).Observe(time.Since(began).Seconds())
	if err != nil {
		o.failed.WithLabelValues(name).Inc()
	}
	return err
}

// operation is the kubelet's word for a method of the CRI, such as run_podsandbox for
// /runtime.v1.RuntimeService/RunPodSandbox.
func operation(method string) string {
	switch name := path.Base(method); name {
	case "UpdateContainerResources":
		return "update_container"
	default:
		name = strings.ReplaceAll(name, "PodSandbox", "Podsandbox")
		var out strings.Builder
		for i, r := range name {
			if r >= 'A' && r <= 'Z' && i > 0 {
				out.WriteByte('_')
			}
			out.WriteRune(r)
		}
		return strings.ToLower(out.String())
	}
}

// Describe describes the metrics of a Client, a prometheus.Collector.
func (c *Client) Describe(ch chan<- *prometheus.Desc) {
	c.operations.calls.Describe(ch)
	c.operations.failed.Describe(ch)
	c.operations.took.Describe(ch)
}

// Collect sends how many calls the runtime was asked, how many of them failed and how
// long they took, under the kubelet's names: kubelet_runtime_operations_*.
func (c *Client) Collect(ch chan<- prometheus.Metric) {
	c.operations.calls.Collect(ch)
	c.operations.failed.Collect(ch)
	c.operations.took.Collect(ch)
}
