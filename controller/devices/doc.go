// Package devices is the DeviceController: it knows from the API server which
// devices each edge node has, and writes what the nodes report of them.
//
// # Down
//
// Source gives a node's part of the mirror: the Devices whose spec.nodeName is
// the node, and the DeviceModels that those refer to. A change of a model
// reaches the node of every device of that model; a change of nodeName takes
// the device from one node to the other. A device whose model is missing goes
// down as it is and delays nobody: its DeviceStatus gets the condition
// ModelFound with status False and the Device an event, and when the model
// appears it follows.
//
// # Up
//
// Each Device has a DeviceStatus of the same name, owned by the Device. A
// node's report is written to it by merge patch, in cloudcore's own name, since
// Kubernetes gives nodes no rights on devices; Writers makes sure that the
// device is the node's. The patch carries the fields that differ, and the
// version that they differ from.
//
// One device is written at most once in Config.Every, with room for two at
// once after a rest. A report that comes sooner is not acknowledged until its
// turn: the edge meanwhile replaces what has not left it yet by newer values,
// so the newest value always wins and none is acknowledged unwritten. Other
// reports of the same batch do not wait for it (see sync.SinkConfig.Last).
package devices
