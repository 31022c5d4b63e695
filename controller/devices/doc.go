// Package devices is the DeviceController. It reads from the API server which
// devices each edge node has, and writes what the nodes report of them.
//
// # Down
//
// Source returns one node's Devices, those whose spec.nodeName is the node, and
// the DeviceModels that they refer to:
//
//	hub.Node{Down: c.Source(hello.Node), ...}
//
// A change of a model reaches every node that has a device of that model. A
// change of nodeName moves the device from one node to the other. A device whose
// model is missing is sent as it is and delays nothing: its DeviceStatus gets
// the condition ModelFound with status False, the Device gets an event, and the
// model follows when it appears.
//
// # Up
//
// Each Device has a DeviceStatus of the same name, which the Device owns. A
// node's report is written to it by merge patch, in cloudcore's own name, since
// Kubernetes gives nodes no rights on devices; Writers checks that the device is
// the node's. The patch has the fields that differ, and the version that they
// differ from.
//
// A DeviceStatus is written at most once in Config.Every, with room for two
// writes at once after a pause. A report that comes sooner is acknowledged when
// it is written. Meanwhile the edge replaces what it has not sent yet by newer
// values: so the newest value always wins, and none is acknowledged unwritten.
// Other reports of the same batch do not wait for it.
//
// # Concurrency
//
// Methods of a Controller may be called by several goroutines at once.
package devices
