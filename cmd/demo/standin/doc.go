// Command standin takes the place of programs that clusters commonly run, in the tests
// "make e2e-cluster" and "make vm". Its first argument says which: it reads the same places and uses the
// Kubernetes API in the same way (in-cluster configuration, informers, leader election) as the
// real program does, and has just enough of the rest to tell whether that works.
//
// Each serves what it has seen as JSON on /state, on the port in PORT (8080).
//
//	fluent-bit          follows /var/log/containers and asks the API for each pod's labels
//	kube-state-metrics  informers of many kinds, metrics of what they hold
//	metrics-server      asks the kubelet endpoint of each node for /metrics/resource
//	operator            leader election, an informer and writes
//	ingress             follows Ingresses, Services and EndpointSlices, and proxies HTTP
//	database            appends to a file in a volume
//	device-plugin       a device plugin of the kubelet's API, on the machine itself ("make vm")
//	dra-driver          a driver of dynamic resource allocation, on the machine itself ("make vm")
//	claim-user          says which claims of Kubernetes' DRA test driver its container has
package main
