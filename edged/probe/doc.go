// Package probe probes containers: by a command, an HTTP request, a TCP connection or
// the gRPC health checking protocol
// (https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/).
// Check probes once. Run probes repeatedly and reports changes, by the thresholds of a
// Kubernetes Probe.
//
//	err := probe.Run(ctx, probe.Config{
//		Probe:   container.LivenessProbe,
//		Target:  func() probe.Target { return probe.Target{IP: address(), Ports: container.Ports, Exec: exec} },
//		Started: startedAt,
//		Report:  func(ok bool, detail string) { ... },
//	})
//
// The gRPC health check is own code over net/http's HTTP/2: one unary call of
// grpc.health.v1.Health/Check, whose two messages have one field each. With
// google.golang.org/grpc/health/grpc_health_v1 every embedder of edged would link grpc,
// also one with a runtime of its own; arch_test.go keeps grpc in edged/cri alone.
package probe
