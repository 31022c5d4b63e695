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
// change of nodeName moves the device from one node to the other: the old node hears of it at
// once, the new one gets the device Config.MoveDelay later, so that two nodes do not drive it
// (a node without a link drives it until it hears of the move). A device whose
// model is missing is sent as it is and delays nothing: its DeviceStatus gets
// the condition ModelFound with status False, the Device gets an event, and the
// model follows when it appears.
//
// # Up
//
// Each Device has a DeviceStatus of the same name, which the Device owns. A
// node's report is written to it by server-side apply, in cloudcore's own name, since
// Kubernetes gives nodes no rights on devices; Writers checks that the device is
// the node's. What nodes report and what cloudcore finds (the condition ModelFound) have field
// managers of their own, so neither replaces the other's or a third party's fields.
// Device.status gets a summary for the columns of kubectl get: state, time, some values.
//
// A report is acknowledged when it is received, and written when the device has its turn:
// at most once in Config.Every for each device, and all together at most
// Config.WritesPerSecond, whatever the number of devices. The newest value is written. Turns
// are in the order of arrival, so no device starves; one whose state or conditions changed
// goes first. Config.Live gets every report at once, for those who need the values as they
// come.
//
// Nothing is lost with a cloudcore that dies between the two: when a session begins, the
// node sends the reports of all its devices again (Resend). A node's reports are written by
// the cloudcore that has its session. What another still has of it is written only if nobody
// wrote later.
//
// If the values of a device are too large for one object, or the API server refuses them, the
// DeviceStatus has the rest, and the condition ValuesStored says what is missing.
//
// # Events
//
// A Device gets events (the Event constants) when its model is missing, it has moved, its
// state changes to and from online, the node refuses a desired value or sets another condition
// to False, and when values cannot be stored. A device has at most one a minute on average.
//
// # Concurrency
//
// Methods of a Controller may be called by several goroutines at once.
package devices
