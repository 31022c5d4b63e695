// Package agentmetrics counts what an agent does, under the names and labels by which a kubelet
// shows it: https://kubernetes.io/docs/reference/instrumentation/metrics/.
//
//	m := agentmetrics.New("gate-7")
//	m.PodSynced(agentmetrics.Create, took)
//	...
//	registry.MustRegister(m)
//
// All methods may be called by several goroutines. The number of series is bounded: no label names a
// pod or a container.
package agentmetrics
