// Package prober runs the probes of a pod's running containers, and says what they found
// out: the kubelet's pkg/kubelet/prober. One probe is a matter of package probe.
//
//	p := prober.New(prober.Config{Executor: runtime, HostIPs: node.Addresses, Events: events, Logger: log})
//	probes := p.Pod(wakeUp)
//	defer probes.Stop()
//	probes.Follow(ctx, prober.Situation{Pod: pod, View: view, Last: status})
//	health, readiness := probes.Health(id), probes.Readiness(id)
//
// What follows of it, a restart or a status, is decided by package plan.
package prober
