// Package metricstext writes metrics in Prometheus' text format, for the paths of
// the kubelet's API that answer with it. client_golang checks and sorts them.
package metricstext
