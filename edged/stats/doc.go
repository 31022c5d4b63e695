// Package stats gives a node's figures in the two forms in which the cluster
// asks for them: metrics-server's (/metrics/resource), behind kubectl top and
// the horizontal autoscaler, and the kubelet's summary (/stats/summary).
//
//	s, err := stats.New(stats.Config{Node: "gate-7", Meter: runtime, Pods: agent})
//	...
//	err = s.Resource(ctx, w)        // Prometheus' text format
//	sum, err := s.Summary(ctx)      // the kubelet's stats/v1alpha1
//
// What pods and containers use is asked of the container runtime, which reads
// their cgroups, of version 1 or 2; what the machine uses is read from /proc.
// Nothing is sampled in the background: figures are read when they are asked
// for, and a node that nobody asks does no work.
//
// A Stats may be used by several goroutines at once.
package stats
