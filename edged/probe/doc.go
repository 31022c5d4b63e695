// Package probe asks containers how they are: by a command, an HTTP request, a
// TCP connection or the gRPC health protocol. Check asks once; Run asks again
// and again and tells of changes, by the thresholds of a Kubernetes Probe.
//
//	err := probe.Run(ctx, probe.Config{
//		Probe:   container.LivenessProbe,
//		Target:  func() probe.Target { return probe.Target{IP: address(), Ports: container.Ports, Exec: exec} },
//		Started: startedAt,
//		Report:  func(ok bool, detail string) { ... },
//	})
//
// The gRPC question is put with net/http alone, so that this package stays
// light.
package probe
