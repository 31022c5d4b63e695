// Package edged runs the pods that are bound to a node, through a container
// runtime, and reports their status: it is the kubelet's part of a node (KubeEdge's
// Edged). It knows nothing of the link to the cloud. It reads what to run from
// [Objects] and writes what is true to [Reports]. Both are served from what the node
// has stored, so that an Agent works the same with and without a link.
//
//	agent, err := edged.New(edged.Config{
//		NodeName: "gate-7",
//		Runtime:  runtime, // edged/cri: containerd or CRI-O
//		Objects:  client,  // meta/kube, or your own
//		Reports:  client,
//	})
//	if err != nil {
//		return err
//	}
//	return agent.Run(ctx)
//
// The program examples/embed-agent is an agent without an API server, in 48 lines.
//
// # How a pod is run
//
// Each pod has a worker, one goroutine that owns it. The worker observes what the
// runtime has of the pod, asks a pure function what to do (internal/plan), does it (internal/actions),
// and observes again, until nothing is left to do. It wakes up when the spec, the
// runtime, a probe, a config map or secret, or the clock gives cause.
//
// All that matters for safety is in the runtime: labels and annotations of sandboxes
// and containers carry restart counts, back-offs and grace periods. So a crash between
// any two actions leads to the same end, and running containers are adopted, never
// restarted, when the program comes back. A runtime's annotations stay as they were when
// a container was made: what a resized pod was granted is in a file in the pod's folder.
//
// # Guarantees
//
//   - A pod with a deletion timestamp is reported gone only when no process,
//     sandbox or volume of it is left, and after its last status was durable.
//   - What is on the node for unknown pods (sandboxes, containers, folders, logs,
//     empty cgroups) is removed, but only after Objects has answered once.
//   - Rotation loses no line of a container's log, and no image is collected that a
//     pod of the node names.
//   - A pod is reported Succeeded or Failed only when nothing of it runs, or may
//     still start. It then never runs again, and its status stays as it is.
//   - An Agent that is restarted reports the status that was reported before.
//   - An error of the runtime is never the answer of a probe.
//   - What fails is tried again with a pause, for ever.
//   - Conditions that others set on a pod are read and never reported.
//   - Status and node are reported when they change, not on a clock.
//
// # What is not supported
//
// A field of a pod that an Agent does not act upon is refused with a reason in
// the pod's status and an event; it is never ignored. testdata/fields.txt lists
// every field of Kubernetes 1.37 with what becomes of it. A pod becomes Failed
// only where a kubelet rejects it too, and stays Pending otherwise, so that
// controllers do not replace it for ever.
//
// # Rooms
//
// This package has the Agent, what an embedder gives it (Config, Objects, Reports), and the
// worker that owns a pod. The rest is in packages below it. Data goes one way: a worker gathers a
// situation, plan decides, actions does it and writes to the worker's memory.
//
//	runtime              the interface of a container runtime, and its values
//	cri, runtimetest     a runtime over the Container Runtime Interface; a fake one
//	internal/podsources  where pods come from, static ones too; mirror pods
//	internal/podview     what the runtime has of a pod
//	internal/plan        what a worker does next, and a pod's status: pure
//	internal/actions     does it: volumes, sandboxes, containers, hooks, the end of a pod
//	internal/podspec     a pod's spec to a runtime's configuration
//	internal/prober      the probes of a pod's containers; probe makes one
//	internal/leftovers   what is on the node for pods that are not its own
//	internal/admission   whether the node takes a pod: pure
//	internal/eviction    which pod must leave a node that is short of something: pure
//	internal/evictor     measures and evicts; with nodeusage, diskusage and hostinfo
//	internal/resize      changes of a running pod's resources: pure but for its record
//	internal/topology    which CPUs and memory containers have alone: pure but for its files
//	internal/placement   has containers run on these CPUs, and others leave them
//	internal/userns      the ids of pods in user namespaces
//	internal/allocatable what the node's cgroups are limited to: pure; nodecgroups sets it
//	internal/podcgroups  whether the node limits pods
//	internal/imagepull   images: pull policy, credentials, back-off; internal/hooks runs hooks
//	internal/devicehealth the health of devices in a pod's status
//	internal/slots       a few calls at a time
//	nodestatus           the Node object and the facts of the host
//	static, standalone   pods from a folder; a node without an API server
//	volume, csi, image   the pods' volumes; CSI drivers; image references and credentials
//	devices, deviceplugin which container has which device; the plugins that have devices
//	podresources         the socket that says what containers have
//	credentialprovider   registry credentials from programs on the node
//	pleg, cgroup         changes in the runtime; the cgroups of node and pods
//	shutdown             the order in which pods end before the machine shuts down; logind
//	reclaim              the disk: rotation of logs, unused images, dead containers
//	server, stats        the kubelet's HTTP API; usage of node and pods
//	edgedtest            a fake and suites for what an embedder implements
//
// What has a library in Kubernetes uses it: requests and limits of pods, node affinity
// and taints come from k8s.io/component-helpers. The class of service stays own
// (podspec.QOSClass), since no module that a small program can link has it.
//
// An Agent and all its methods may be used by several goroutines. The package
// follows the module's version; what is exported here is stable from 1.0 on.
package edged
