// Command comparemetrics starts the stock kubelet and edgecore, one after the other, with the
// same pods on this machine, and compares what they show to Prometheus and to metrics-server:
//
//	/metrics            the series of series.txt, which the rules and dashboards of kube-prometheus use
//	/metrics/cadvisor   those, and every series of the kubelet besides
//	/metrics/resource   as /metrics/cadvisor
//	/metrics/probes     as /metrics/cadvisor
//	/metrics/slis       as /metrics/cadvisor
//	/stats/summary      every field of the kubelet's answer
//
// A series is compared by its name, its type and the names of its labels. Where series.txt gives
// values of a label, such as operation_type=run_podsandbox, these must be there too.
//
// What edgecore lacks is printed with its reason, which missing.txt has. A series that is missing
// without one is a failure. What neither shows, such as what the kernel of the machine does not count,
// is printed and is none. The last lines are
//
//	RESULT metrics_compared N series
//	RESULT metrics_missing N series       with their reasons
//	RESULT metrics_unexplained N series   0, or the command fails
package main
