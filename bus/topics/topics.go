package topics

import (
	"net/url"
	"strings"
)

const (
	devicePrefix       = "$hw/events/device/"
	nodePrefix         = "$hw/events/node/"
	connectedPrefix    = "$hw/events/connected/"
	disconnectedPrefix = "$hw/events/disconnected/"
	membershipPrefix   = "membership"
	protocolPrefix     = membershipPrefix + "/protocol/"
	proposedPrefix     = "proposed/"
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
	StateConditions  = "state/conditions"     // ConditionsMessage, answered like StateUpdate; KubeEdge has no such topic
	MethodCall       = "method/call"          // MethodCallMessage, answered by the device's mapper with a MethodResultMessage; KubeEdge has no such topic
)

// The actions of a node: what follows its name in a topic.
const (
	MembershipGet     = "membership/get"     // Header, answered with a DeviceListMessage without twins
	MembershipDetail  = "membership/detail"  // Header, answered with a DeviceListMessage
	MembershipUpdated = "membership/updated" // MembershipMessage, when a device is added, changed or removed
	// MembershipClaim is with OfProtocol alone: a mapper claims the devices of a protocol with a
	// ClaimMessage, answered with a ClaimResultMessage. KubeEdge has no such topic.
	MembershipClaim = "membership/claim"
)

// The actions of a node that are about its upgrade. None is retained. KubeEdge has no such
// topics.
const (
	UpgradeRequest = "upgrade/request" // UpgradeRequestMessage from edgecore, repeated while an upgrade waits for a confirmation
	UpgradeConfirm = "upgrade/confirm" // UpgradeConfirmMessage to edgecore, answered on UpgradeResult
	UpgradeResult  = "upgrade/result"  // UpgradeResultMessage from edgecore, for each confirmation and at the end of each upgrade
)

// Proposed returns the action of a node on which the mapper of a protocol publishes a
// ProposalsMessage, retained: the devices that it has found. KubeEdge has no such topic.
func Proposed(protocol string) string { return proposedPrefix + ProtocolLevel(protocol) }

// ProposedOfAll is Proposed for all protocols, in a filter.
const ProposedOfAll = proposedPrefix + "+"

// ParseProposed returns the level of the protocol of an action that Proposed has made.
func ParseProposed(action string) (level string, ok bool) {
	level, ok = strings.CutPrefix(action, proposedPrefix)
	return level, ok && level != "" && !strings.Contains(level, "/")
}

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

// OfProtocol returns the action of a node that is about the devices of one protocol only:
// MembershipDetail or MembershipClaim with its result, or MembershipUpdated. It is membership/protocol/LEVEL/detail
// and so on, where LEVEL is ProtocolLevel.
func OfProtocol(protocol, action string) string {
	return OfLevel(ProtocolLevel(protocol), action)
}

// OfLevel is OfProtocol for the level of a protocol.
func OfLevel(level, action string) string {
	return protocolPrefix + level + strings.TrimPrefix(action, membershipPrefix)
}

// ProtocolLevel returns the name of a protocol as one level of a topic: characters that MQTT
// gives a meaning are as in a URL (%2F).
func ProtocolLevel(protocol string) string {
	return strings.ReplaceAll(url.PathEscape(protocol), "+", "%2B")
}

// ParseProtocol splits an action that OfProtocol has made into the level of the protocol and
// the action: membership/detail or membership/claim, with or without /result, or
// membership/updated.
func ParseProtocol(action string) (level, of string, ok bool) {
	rest, ok := strings.CutPrefix(action, protocolPrefix)
	level, verb, found := strings.Cut(rest, "/")
	if !ok || !found || level == "" {
		return "", "", false
	}
	switch verb {
	case "detail":
		return level, MembershipDetail, true
	case "detail/result":
		return level, MembershipDetail + "/result", true
	case "updated":
		return level, MembershipUpdated, true
	case "claim":
		return level, MembershipClaim, true
	case "claim/result":
		return level, MembershipClaim + "/result", true
	}
	return "", "", false
}

// ParseDevice splits a topic that Device has made. The topic is split, never
// searched: any name is an ordinary name.
func ParseDevice(topic string) (id, action string, ok bool) {
	rest, ok := strings.CutPrefix(topic, devicePrefix)
	namespace := strings.IndexByte(rest, '/')
	if !ok || namespace <= 0 {
		return "", "", false
	}
	name := strings.IndexByte(rest[namespace+1:], '/')
	end := namespace + 1 + name
	if name <= 0 || end+1 == len(rest) {
		return "", "", false
	}
	return rest[:end], rest[end+1:], true
}

// Connected is the topic with the retained LinkMessage of a node that is
// connected to its cloud.
func Connected(node string) string { return connectedPrefix + node }

// Disconnected is the topic with the retained LinkMessage of a node that is not.
func Disconnected(node string) string { return disconnectedPrefix + node }
