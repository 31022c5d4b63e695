// Package containermetrics writes what the machine, its pods and their containers use, under the
// names and labels with which a kubelet shows it on /metrics/cadvisor (container_*, machine_*).
// Dashboards and rules for Kubernetes ask for these.
//
//	w := containermetrics.New(containermetrics.Config{Runtime: runtime, PodsGroup: agent.PodsGroup})
//	err := w.Write(ctx, out)
//
// The numbers come from the control groups, of version 1 or 2, whoever makes them (cgroupfs or
// systemd), and from /proc. The container runtime says only which group belongs to which
// container. Nothing is sampled in the background and nothing is kept between two calls: a
// Writer reads all groups once, and writes one family of metrics after the other.
//
// # Groups
//
// There is one series for each group: the machine (id "/"), the group of all pods, those of the
// classes of service, each pod (its pod and namespace are known, its container is ""), each sandbox
// (its name, the id of the sandbox, is known besides) and each container. The network belongs to
// the sandbox. Groups that others made, such as those of the machine's services, are not shown.
//
// # What is left out
//
// A value that the kernel does not have is left out, never shown as 0: version 1 knows no pressure,
// for instance. Open files and sockets are not counted, since that takes a look at each file of each
// process.
package containermetrics
