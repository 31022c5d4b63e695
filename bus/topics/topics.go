package topics

import "strings"

const (
	devicePrefix       = "$hw/events/device/"
	nodePrefix         = "$hw/events/node/"
	connectedPrefix    = "$hw/events/connected/"
	disconnectedPrefix = "$hw/events/disconnected/"
)

// AnyDevice stands for the ID of each device in a filter.
const AnyDevice = "+/+"

// The actions of a device: what follows its ID in a topic.
const (
	TwinUpdate       = "twin/update"          // TwinUpdateMessage, answered
	TwinCloudUpdated = "twin/cloud_updated"   // TwinUpdateMessage with versions, answered on Result(TwinUpdate)
	TwinDocument     = "twin/update/document" // TwinDocumentMessage, after each change of a value
	TwinDelta        = "twin/update/delta"    // TwinDeltaMessage, while a desired value is not reported yet
	TwinGet          = "twin/get"             // Header, answered
	TwinHistory      = "twin/history"         // HistoryRequest, answered with HistoryMessages; KubeEdge has no such topic
	StateUpdate      = "state/update"         // StateUpdateMessage, answered
	StateGet         = "state/get"            // Header, answered
)

// The actions of a node: what follows its name in a topic.
const (
	MembershipGet     = "membership/get"     // Header, answered with a DeviceListMessage without twins
	MembershipDetail  = "membership/detail"  // Header, answered with a DeviceListMessage
	MembershipUpdated = "membership/updated" // MembershipMessage, when a device is added, changed or removed
)

// Device returns the topic of an action of the device with the given ID, which is
// namespace/name or AnyDevice.
func Device(id, action string) string { return devicePrefix + id + "/" + action }

// Node returns the topic of an action of a node.
func Node(node, action string) string { return nodePrefix + node + "/" + action }

// Result returns the action on which a request is answered.
func Result(action string) string {
	if action == TwinCloudUpdated {
		action = TwinUpdate
	}
	return action + "/result"
}

// ParseDevice splits a topic that Device has made. The topic is split, never
// searched: any name is an ordinary name.
func ParseDevice(topic string) (id, action string, ok bool) {
	rest, ok := strings.CutPrefix(topic, devicePrefix)
	levels := strings.SplitN(rest, "/", 3)
	if !ok || len(levels) != 3 || levels[0] == "" || levels[1] == "" || levels[2] == "" {
		return "", "", false
	}
	return levels[0] + "/" + levels[1], levels[2], true
}

// Connected is the topic with the retained LinkMessage of a node that is
// connected to its cloud.
func Connected(node string) string { return connectedPrefix + node }

// Disconnected is the topic with the retained LinkMessage of a node that is not.
func Disconnected(node string) string { return disconnectedPrefix + node }
