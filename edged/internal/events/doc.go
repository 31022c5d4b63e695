// Package events turns what happens on a node into Kubernetes events: of pods, of
// their containers, and of the node.
//
// Events are for people. Recording one never blocks: where too many wait, the newest
// are dropped. Those that repeat are counted in one event
// (https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/),
// and reported less and less often. So are those of one object and reason whose texts differ,
// from the eleventh text within ten minutes on.
package events
