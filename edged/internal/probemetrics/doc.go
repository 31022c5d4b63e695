// Package probemetrics counts the results of probes as the kubelet does:
// prober_probe_total, by container and kind of probe.
// https://kubernetes.io/docs/reference/instrumentation/metrics/
package probemetrics
