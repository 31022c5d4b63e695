// Package e2e tests edgekit from end to end, with a real control plane, a real
// container runtime and the programs as an operator runs them: the demo's
// story, what bad input gets, what a node does alone, and that nothing is left
// behind. TestAutonomy is the long form of the last but one: make e2e-autonomy.
// TestPods is what pods do, alone: make e2e-pods. TestVolumes
// is what they keep: make e2e-volumes. TestMetrics adds the stock metrics-server and autoscaler: make e2e-metrics.
// TestCluster has two nodes with the programs that clusters commonly run: make e2e-cluster.
//
// It needs Linux and root and is skipped otherwise. It has a cluster of its
// own beside a demo's, in a fixed folder, so that a run which was killed is
// cleaned up by the next one.
package e2e
