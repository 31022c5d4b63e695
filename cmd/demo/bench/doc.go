// Command bench measures the node's agent on this machine, with a real control
// plane and container runtime, in a cluster of its own that it takes down
// again. It ends with lines "RESULT name value unit":
//
//	agent_start       from the exec of edgecore to its node's Ready in the API server, median
//	agent_rss_idle    resident memory (VmRSS) 60 s after Ready, without pods
//	agent_binary      size of the stripped program
//	pod_ready_p50     from a pod's create to its Ready, as the API server tells it; _p99 as well
//	pod_gone_p50      from a pod's delete to its end there; _p99 as well
//	agent_rss_pods    resident memory with the pods running
//	cpu_100           how much of one CPU the agent uses with the last round's pods at rest
//	cp_rate           of kubectl cp into a container and back, with --copies
//
// The rounds of pods (--pods) have their number in the names, such as pod_ready_p50_100,
// but for 20.
//
// With PEER=kubelet the stock kubelet is measured in the same way on the same
// container runtime: peer_ and ratio_ (agent to peer) lines follow.
package main
