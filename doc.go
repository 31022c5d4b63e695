// Package edgekit is Kubernetes for machines at the edge, as a Go SDK and as
// three small programs made of it. This package holds no code: it is the
// guided tour.
//
// # The parts
//
// Seven packages, each usable by itself, make the two ends of one link:
//
//   - [github.com/edgekit/edgekit/hub] is the link between cloud and edge: one
//     connection for each node, dialled by the edge, with state, events, calls
//     and streams on it. It knows nothing of Kubernetes.
//   - [github.com/edgekit/edgekit/meta] is what a node must remember: a durable
//     store with revisions and watches, and the outbox of what it reports.
//   - [github.com/edgekit/edgekit/bus] is MQTT on the node: an embedded
//     broker, a client of an outside one, or both.
//   - [github.com/edgekit/edgekit/twin] is the truth about devices: what is
//     desired, what is reported, and the difference.
//   - [github.com/edgekit/edgekit/device] is for those who write drivers: a
//     loop that runs a Driver of a few methods, and the types of the resources.
//   - [github.com/edgekit/edgekit/edged] runs the node's pods through the
//     container runtime interface (CRI).
//   - [github.com/edgekit/edgekit/controller] is the cloud's side: what each
//     node should hold, read from the API server, and what each reported,
//     written to it as that node.
//
// Adapters to a heavy dependency sit one folder down and are the only
// importers of it: hub/wsconn, meta/badgerstore, bus/broker, bus/client,
// edged/cri. Where two parts meet there is a small joiner named for its job:
// meta/manager (hub and store), meta/kube (store and Kubernetes types),
// twin/mqtt (twin on bus topics), twin/devicesync (twin and Device objects),
// twin/devicespec (a device's spec and its twins),
// device/mqtt and device/inprocess (a driver outside or inside the node's
// program), hub/httplink (HTTP on streams of the link, which is how kubectl logs
// and exec reach edged/server). The programs under cmd wire them together and hold nothing else.
//
// # The way of a pod
//
// kubectl writes to the API server. controller sees that the pod is bound to
// an edge node and lists it in that node's [hub.Source]. The session sends
// what the node does not have yet; the node's meta store makes it durable and
// only then acknowledges. edged sees the store change and acts through CRI. The
// status goes back the same way: into the store, over the link, and to the API
// server as that node. Being offline is not a special case, only a longer wait.
//
// # The way of a device's value
//
// A user sets a desired value in a Device. It comes down like a pod. twin
// computes the delta, bus publishes it, a driver acts and reports the actual
// value, twin stores it, and the link carries it up to DeviceStatus.
//
// # Where to start
//
// With no cluster and no root, "go run ./examples/thermometer" shows a driver,
// a twin and MQTT in a few seconds, and examples/gateway is a gateway without
// Kubernetes in one file. "make demo" shows the whole, with a real
// cluster and a real container runtime. To embed: read the package docs of
// hub, meta and twin, in that order.
//
// [hub.Source]: https://pkg.go.dev/github.com/edgekit/edgekit/hub#Source
package edgekit
