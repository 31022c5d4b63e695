// Package eviction decides when a node is short of memory, disk, inodes or process
// ids, which pod has to leave then, and which pods use more local storage than they may.
// It is pure: what was measured comes in, decisions go out; package evictor measures and
// acts.
//
//	state, decision := eviction.Step(state, eviction.Config{Thresholds: thresholds}, observations, now)
//	if t := decision.Reclaim; t != nil {
//		for _, pod := range eviction.Rank(pods, usage, t.Signal, layout) { ... }
//	}
//
// The rules, names and texts are those of
// https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/ and of
// the kubelet 1.37 (pkg/kubelet/eviction). There is one difference: where pods are
// compared by their inodes, the kubelet subtracts their request of bytes; here nothing
// is subtracted.
package eviction
