// Package stats reads what a node and its pods use, in the three forms in which the cluster
// asks for it: that of metrics-server (/metrics/resource), for kubectl top and the
// horizontal autoscaler, that of cAdvisor (/metrics/cadvisor), for dashboards, and the
// kubelet's summary (/stats/summary).
//
//	s, err := stats.New(stats.Config{Node: "gate-7", Meter: runtime, Pods: agent})
//	...
//	err = s.Resource(ctx, w)        // Prometheus' text format
//	err = s.Cadvisor(ctx, w)        // the same
//	sum, err := s.Summary(ctx)      // the kubelet's stats/v1alpha1
//
// The usage of pods and containers comes from the container runtime, which reads their
// cgroups, of version 1 or 2. The usage of the machine comes from /proc. Nothing is
// sampled in the background: a node that nobody asks does no work.
//
// A Stats may be used by several goroutines at once.
package stats
