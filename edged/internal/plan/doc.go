// Package plan decides what a node does next for one pod, and which status the pod
// has. It is pure: it reads no clock, no disk and no runtime, so that every rule is
// tested with values.
//
//	d := plan.Decide(plan.Situation{Pod: pod, View: view, Now: now, ...})
//	for _, a := range d.Actions { ... } // in order; each may fail or be cut short
//	status := plan.PodStatus(plan.Facts{Pod: pod, View: view, Now: now, ...})
//
// # The loop
//
// A worker observes what the runtime has of its pod ([View]), calls [Decide], does
// the actions, and observes again. Equal situations give equal decisions, and doing
// only a part of the actions leads to a situation whose decision is the rest. So a
// crash between any two actions leads to the same end.
//
// # The rules
//
// They are the kubelet's: restart policies and back-off
// (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/), the order of
// init containers and sidecars
// (https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/), phases and
// conditions. In one point they are stricter: a pod is Succeeded or Failed only when
// nothing of it runs, since others start its successor then.
package plan
