// Package resize decides about changes of the resources of pods that run (in-place
// resize, KEP-1287): whether the node grants one, in which order pods are asked, and
// in which order the cgroup of a pod and its containers are changed.
//
//	verdict := resize.Decide(resize.Request{Desired: pod, Allocated: held, ...})
//	steps := resize.Steps(current, desired, changes)
//
// The words are those of the API: desired is what the spec asks for, allocated is what
// the node granted, actuated is what was set. All decisions are pure. A [Record] is
// the one thing that is written: what was granted and set outlives the agent.
//
// Functions may be used by several goroutines at once; pods that are passed in are
// never changed.
package resize
