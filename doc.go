// Package edgekit is Kubernetes for machines at the edge. It is a Go SDK, and
// three small programs built with it: cloudcore, edgecore and edgectl. This
// package holds no code. It is the guided tour.
//
// # Where KubeEdge's modules are
//
// In the cloud (the program cloudcore):
//
//   - CloudHub: [hub.Server], over [hub/quicconn] and [hub/wsconn]; tokens and
//     certificates are in [hub/join].
//   - EdgeController: [controller/edge.Controller].
//   - DeviceController: [controller/devices.Controller].
//   - Router: [controller/rules.Controller].
//   - DynamicController: [controller/sites.Controller].
//   - Pipelines and live values of devices, which KubeEdge does not have:
//     [controller/pipelines.Controller], [controller/twins.Server].
//   - CloudStream (kubectl logs, exec, port-forward): [controller/kubeletproxy.Server].
//   - Node lifecycle, autonomy: [controller/nodelifecycle.Controller].
//   - All of them in one value: [controller.Controller].
//
// On the node (the program edgecore):
//
//   - EdgeHub: [hub.Client].
//   - MetaManager: [meta/manager.Manager]; the store below it is [meta.Store], and
//     [meta/kube] shows it as Kubernetes objects.
//   - MetaServer: [meta/apiserver.Server].
//   - Edged: [edged.Agent]; EdgeStream is [edged/server.Server].
//   - EventBus: [bus.Bus]; the topics and their payloads are in [bus/topics].
//   - DeviceTwin: [twin.Engine]; [twin/mqtt.Bridge] puts it on the bus, and
//     [twin/devicesync.Syncer] puts it in step with Device objects.
//   - ServiceBus, and the node's part of rules: [bus/rules.Rules].
//   - Pipelines, which KubeEdge does not have: [bus/pipeline.Runner], in a program of its own;
//     [bus/pipeline/host.Host] starts it.
//   - DMI: [device/dmi.Manager]; [device/push.Pusher] sends values where pushMethod says.
//   - Mapper: [device.Run] with a [device.Driver] of your own.
//
// For people: keadm is "edgectl" in the cloud and "edgecore join" on the node. The
// types of Device, DeviceModel and DeviceStatus are in [device/v1beta1].
//
// # The packages
//
// Seven packages make the two ends of the link. Each works without the others.
//
//   - hub is the link between cloud and edge: one connection for each node, dialled
//     by the edge, with state, events, calls and streams on it. It does not know
//     Kubernetes.
//   - meta is the node's durable store, with revisions and watches.
//   - bus is MQTT on the node: an embedded broker, a client of another broker, or
//     both.
//   - twin keeps the desired and the reported values of devices.
//   - device runs drivers: types with four methods.
//   - edged runs the node's pods through the Container Runtime Interface (CRI).
//   - controller reads from the API server what each node should hold, and writes
//     to it what each node reported, as that node.
//
// A package that imports a heavy dependency is one folder down, and only that
// package imports it: hub/quicconn, hub/wsconn, meta/badgerstore, bus/broker,
// bus/client, edged/cri. A package that connects two of the seven is also one folder
// down:
//
//   - meta/manager connects the link and the store.
//   - meta/kube connects the store and edged.
//   - twin/mqtt connects twins and the bus.
//   - twin/devicesync and twin/devicespec connect twins and Device objects.
//   - device/mqtt connects a driver and the bus, device/inprocess a driver and the
//     twins of the same program.
//   - hub/httplink carries HTTP on streams of the link.
//
// The programs below cmd parse flags and connect these packages. They do nothing
// else.
//
// # The way of a pod
//
// kubectl writes to the API server. controller/edge sees that the pod is bound to
// an edge node and lists it in that node's [hub.Source]. The session sends what the
// node does not have yet. The node's store makes it durable, and only then does
// the node acknowledge it. edged sees the change in the store and acts through CRI.
// The pod's status goes back the same way: into the store, over the link, and to
// the API server, written as that node. A node that is offline does the same; its
// reports only wait longer.
//
// # The way of a device's value
//
// A user sets a desired value in a Device. It reaches the node like a pod. twin
// computes the delta and bus publishes it. A driver applies it and reports the
// actual value. twin stores the report, and the link carries it up to DeviceStatus.
//
// # Where to start
//
// "go run ./examples/thermometer" shows a driver, a twin and MQTT in a few seconds.
// It needs no cluster and no root. examples/gateway is a gateway without Kubernetes
// in one file. "make demo" runs everything with a real cluster and a real container
// runtime. To embed, read the package docs of hub, meta and twin, in that order.
//
// [hub.Server]: https://pkg.go.dev/github.com/edgekit/edgekit/hub#Server
// [hub.Client]: https://pkg.go.dev/github.com/edgekit/edgekit/hub#Client
// [hub.Source]: https://pkg.go.dev/github.com/edgekit/edgekit/hub#Source
// [hub/quicconn]: https://pkg.go.dev/github.com/edgekit/edgekit/hub/quicconn
// [hub/wsconn]: https://pkg.go.dev/github.com/edgekit/edgekit/hub/wsconn
// [hub/join]: https://pkg.go.dev/github.com/edgekit/edgekit/hub/join
// [controller.Controller]: https://pkg.go.dev/github.com/edgekit/edgekit/controller#Controller
// [controller/edge.Controller]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/edge#Controller
// [controller/devices.Controller]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/devices#Controller
// [controller/rules.Controller]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/rules#Controller
// [controller/twins.Server]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/twins#Server
// [controller/sites.Controller]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/sites#Controller
// [controller/pipelines.Controller]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/pipelines#Controller
// [bus/pipeline.Runner]: https://pkg.go.dev/github.com/edgekit/edgekit/bus/pipeline#Runner
// [bus/pipeline/host.Host]: https://pkg.go.dev/github.com/edgekit/edgekit/bus/pipeline/host#Host
// [bus/rules.Rules]: https://pkg.go.dev/github.com/edgekit/edgekit/bus/rules#Rules
// [device/dmi.Manager]: https://pkg.go.dev/github.com/edgekit/edgekit/device/dmi#Manager
// [device/push.Pusher]: https://pkg.go.dev/github.com/edgekit/edgekit/device/push#Pusher
// [controller/kubeletproxy.Server]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/kubeletproxy#Server
// [controller/nodelifecycle.Controller]: https://pkg.go.dev/github.com/edgekit/edgekit/controller/nodelifecycle#Controller
// [meta.Store]: https://pkg.go.dev/github.com/edgekit/edgekit/meta#Store
// [meta/manager.Manager]: https://pkg.go.dev/github.com/edgekit/edgekit/meta/manager#Manager
// [meta/kube]: https://pkg.go.dev/github.com/edgekit/edgekit/meta/kube
// [meta/apiserver.Server]: https://pkg.go.dev/github.com/edgekit/edgekit/meta/apiserver#Server
// [edged.Agent]: https://pkg.go.dev/github.com/edgekit/edgekit/edged#Agent
// [edged/server.Server]: https://pkg.go.dev/github.com/edgekit/edgekit/edged/server#Server
// [bus.Bus]: https://pkg.go.dev/github.com/edgekit/edgekit/bus#Bus
// [bus/topics]: https://pkg.go.dev/github.com/edgekit/edgekit/bus/topics
// [twin.Engine]: https://pkg.go.dev/github.com/edgekit/edgekit/twin#Engine
// [twin/mqtt.Bridge]: https://pkg.go.dev/github.com/edgekit/edgekit/twin/mqtt#Bridge
// [twin/devicesync.Syncer]: https://pkg.go.dev/github.com/edgekit/edgekit/twin/devicesync#Syncer
// [device.Run]: https://pkg.go.dev/github.com/edgekit/edgekit/device#Run
// [device.Driver]: https://pkg.go.dev/github.com/edgekit/edgekit/device#Driver
// [device/v1beta1]: https://pkg.go.dev/github.com/edgekit/edgekit/device/v1beta1
package edgekit
