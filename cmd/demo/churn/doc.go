// Command churn starts and deletes many pods of all kinds on one edge node, while
// edgecore and containerd are killed again and again, the node's disk is full for a
// while, and its CNI network fails for a while. Then it looks for what is left of them.
//
// It has a cluster of its own, takes it down again, and ends with lines
// "RESULT name value unit":
//
//	churn_pods    pods that were started and deleted
//	churn_kills   how often edgecore and containerd were killed
//	churn_runtime_calls_per_min
//	              how many calls edgecore made of its runtime in the worst minute
//	churn_wrong   pods with a phase that their kind cannot have, pods whose container was
//	              restarted without cause, and pods that did not end
//	churn_runtime_leaks
//	              what containerd itself lost when it was killed: shims, snapshots and
//	              network namespaces of sandboxes and containers that it does not list
//	churn_leaks   sandboxes, containers, shims, mounts, cgroups, network namespaces,
//	              addresses, folders and logs of pods that are gone; goroutines and open
//	              files of edgecore
//
// It fails where churn_wrong or churn_leaks is not zero. The rooms: kinds.go has the pods,
// world.go their lives, judge.go what their status may be, trouble.go what
// happens to the node, and traces.go what is left.
package main
