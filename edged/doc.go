// Package edged runs the pods that are bound to a node, through a container
// runtime, and reports what became of them: it is the kubelet's part of a node.
// It knows nothing of the link to the cloud; it reads its orders from
// [Objects] and writes its reports to [Reports], both of which are served from
// what the node has stored, so that it works the same with and without a link.
//
//	agent, err := edged.New(edged.Config{
//		NodeName: "gate-7",
//		Runtime:  runtime, // edged/cri
//		Objects:  client,  // meta/client
//		Reports:  client,
//	})
//	if err != nil {
//		return err
//	}
//	return agent.Run(ctx)
//
// # How a pod is run
//
// Each pod has a worker, one goroutine that owns it. A worker observes what
// the runtime has of the pod, asks a pure function what to do ("plan"), does
// it, and observes again, until nothing is left to do. It wakes up when the
// spec, the runtime, a probe, a config map or secret, or the clock gives cause.
// Nothing but the runtime's own records is remembered between two plans that
// matters for safety: labels and annotations of sandboxes and containers carry
// restart counts, back-offs and grace periods. So a crash between any two
// actions leads to the same end, and running containers are adopted, never
// restarted, when the program comes back.
//
// # Guarantees
//
//   - A pod with a deletion timestamp is reported gone only when no process,
//     sandbox or volume of it is left, and after its last status was durable.
//   - Sandboxes of pods that nobody knows are removed, but only after Objects
//     has answered once.
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
// # Parts
//
// edged/cri is the adapter to a real runtime and edged/runtimetest a fake one.
// edged/volume prepares the pods' volumes, edged/image reads image references
// and registry credentials, edged/fieldref resolves the downward API,
// edged/cgroup keeps the pods' cgroups, edged/probe runs probes and edged/pleg
// notices changes in the runtime.
//
// An Agent and all its methods may be used by several goroutines. The package
// follows the module's version; what is exported here is stable from 1.0 on.
package edged
