package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/cmd/internal/tracing"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/meta/resources"
	"github.com/edgekit/edgekit/twin"
)

// traceQueue is how many spans wait for their receiver: about half a MiB.
const traceQueue = 512

// addTracing adds what exports spans and makes those of twins, and the metrics of that.
func (n *node) addTracing(all parts, engine *twin.Engine) {
	n.metrics.MustRegister(tracing.Metrics(n.tracer))
	n.tracer.Twins(engine)
	if n.tracer != nil {
		all["tracing"] = n.tracer.Run
	}
}

// tracedReports are the agent's reports with the spans of those about pods.
type tracedReports struct {
	*storageReports
	tracer *tracing.Tracer
}

// traceReports adds the spans, unless there are no traces.
func traceReports(tracer *tracing.Tracer, reports *storageReports) edged.Reports {
	if tracer == nil {
		return reports
	}
	return tracedReports{reports, tracer}
}

// PodStatus reports a pod's status.
func (r tracedReports) PodStatus(ctx context.Context, pod *corev1.Pod) error {
	return r.tracer.PodReport(resources.PodStatus, pod, func() error { return r.storageReports.PodStatus(ctx, pod) })
}

// PodGone says that a pod has left the node.
func (r tracedReports) PodGone(ctx context.Context, pod *corev1.Pod) error {
	return r.tracer.PodReport(resources.Pods, pod, func() error { return r.storageReports.PodGone(ctx, pod) })
}
