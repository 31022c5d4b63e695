package access

import (
	"strings"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/topics"
)

const (
	ownPrefix    = "$hw/" // all topics of edgecore
	devicePrefix = ownPrefix + "events/device/"
	nodePrefix   = ownPrefix + "events/node/"
	linkPrefix   = ownPrefix + "events/connected/"
	noLinkPrefix = ownPrefix + "events/disconnected/"
	uploadPrefix = ownPrefix + "events/upload/"
	rawPrefix    = "$ke/events/device/"
	rawSuffix    = "/data/update"
)

// isUpgradeFilter reports whether a filter is about the upgrade of nodes: what follows the
// node's name, which may be +, is upgrade/.
func isUpgradeFilter(filter string) bool {
	rest, ok := strings.CutPrefix(filter, nodePrefix)
	_, action, found := strings.Cut(rest, "/")
	return ok && found && strings.HasPrefix(action, "upgrade/")
}

// permits decides about one action. It allocates nothing.
func (a *Access) permits(f found, topic string, action broker.Action) bool {
	switch action {
	case broker.ActionPublish, broker.ActionWill:
		return a.mayPublish(f, topic)
	case broker.ActionReceive:
		return a.mayReceive(f, topic)
	case broker.ActionSubscribe:
		if strings.ContainsAny(topic, "+#") { // what it brings is decided for each message
			return true
		}
		// The protocol of a device may not be known yet.
		return a.mayReceive(f, topic) || (len(f.protocols) > 0 && isDeviceTopic(topic))
	}
	return false
}

func isDeviceTopic(topic string) bool {
	return strings.HasPrefix(topic, devicePrefix) || strings.HasPrefix(topic, rawPrefix)
}

func (a *Access) mayPublish(f found, topic string) bool {
	switch {
	case strings.HasPrefix(topic, devicePrefix):
		id, action, ok := parseDevice(topic)
		if !ok {
			return false
		}
		switch action {
		case topics.TwinUpdate, topics.MethodCall:
			return a.maySet(f, id)
		case topics.StateUpdate, topics.StateConditions, topics.MethodCall + "/result":
			return f.role != roleApp && a.maySet(f, id)
		case topics.TwinGet, topics.StateGet, topics.TwinHistory:
			return a.mayRead(f, id)
		}
		return false // what edgecore alone publishes
	case strings.HasPrefix(topic, nodePrefix):
		switch action := a.nodeAction(topic); action {
		case topics.MembershipGet:
			return f.readsAll()
		case topics.MembershipDetail:
			return f.hasAllCredentials()
		case topics.UpgradeConfirm:
			return f.role == roleAdmin || matches(f.publish, topic)
		default:
			if level, ok := topics.ParseProposed(action); ok {
				return f.hasCredentialsOf(level)
			}
			level, of, ok := topics.ParseProtocol(action)
			return ok && (of == topics.MembershipDetail || of == topics.MembershipClaim) && f.hasCredentialsOf(level)
		}
	case strings.HasPrefix(topic, rawPrefix):
		id, ok := rawDevice(topic)
		return f.role == roleAdmin || (ok && f.role == roleMapper && a.maySet(f, id)) || matches(f.publish, topic)
	case strings.HasPrefix(topic, ownPrefix) && !strings.HasPrefix(topic, uploadPrefix):
		return false
	}
	return f.role == roleAdmin || matches(f.publish, topic) || f.ownTopic(topic)
}

func (a *Access) mayReceive(f found, topic string) bool {
	switch {
	case strings.HasPrefix(topic, devicePrefix):
		id, _, ok := parseDevice(topic)
		return f.role == roleAdmin || (ok && a.mayRead(f, id))
	case strings.HasPrefix(topic, nodePrefix):
		switch action := a.nodeAction(topic); action {
		case topics.MembershipGet, topics.MembershipGet + "/result":
			return f.readsAll()
		case topics.MembershipDetail, topics.MembershipDetail + "/result", topics.MembershipUpdated:
			return f.hasAllCredentials()
		case topics.UpgradeRequest, topics.UpgradeConfirm, topics.UpgradeResult:
			return f.role == roleAdmin || matches(f.subscribe, topic)
		default:
			level, _, ok := topics.ParseProtocol(action)
			if !ok {
				level, ok = topics.ParseProposed(action)
			}
			return f.role == roleAdmin || (ok && f.hasCredentialsOf(level))
		}
	case strings.HasPrefix(topic, linkPrefix), strings.HasPrefix(topic, noLinkPrefix):
		return true
	case strings.HasPrefix(topic, rawPrefix):
		id, ok := rawDevice(topic)
		return f.role == roleAdmin || (ok && a.mayRead(f, id)) || matches(f.subscribe, topic)
	case strings.HasPrefix(topic, ownPrefix) && !strings.HasPrefix(topic, uploadPrefix):
		return f.role == roleAdmin
	}
	return f.role == roleAdmin || matches(f.subscribe, topic) || f.ownTopic(topic)
}

// nodeAction returns what follows the node's name in a topic; empty if it is another node's.
func (a *Access) nodeAction(topic string) string {
	node, action, _ := strings.Cut(topic[len(nodePrefix):], "/")
	if node == "" || (a.cfg.Node != "" && node != a.cfg.Node) {
		return ""
	}
	return action
}

// parseDevice is topics.ParseDevice without allocations. The topic begins with devicePrefix.
func parseDevice(topic string) (id, action string, ok bool) {
	rest := topic[len(devicePrefix):]
	namespace := strings.IndexByte(rest, '/')
	if namespace <= 0 {
		return "", "", false
	}
	name := strings.IndexByte(rest[namespace+1:], '/')
	if name <= 0 {
		return "", "", false
	}
	end := namespace + 1 + name
	return rest[:end], rest[end+1:], end+1 < len(rest)
}

// rawDevice returns the device of a topic with a mapper's raw data.
func rawDevice(topic string) (id string, ok bool) {
	id, ok = strings.CutSuffix(topic[len(rawPrefix):], rawSuffix)
	return id, ok && strings.Count(id, "/") == 1 && id[0] != '/' && id[len(id)-1] != '/'
}

// maySet reports whether a user may publish values of a device.
func (a *Access) maySet(f found, id string) bool {
	if f.role == roleAdmin || covers(f.devices, id) || f.ownDevice(id) {
		return true
	}
	if len(f.protocols) == 0 || a.cfg.Protocol == nil {
		return false
	}
	protocol := a.cfg.Protocol(id)
	for _, p := range f.protocols {
		if p == protocol && p != "" {
			return true
		}
	}
	return false
}

// mayRead reports whether a user may read a device.
func (a *Access) mayRead(f found, id string) bool { return covers(f.read, id) || a.maySet(f, id) }

func matches(filters []string, topic string) bool {
	for _, f := range filters {
		if bus.Match(f, topic) {
			return true
		}
	}
	return false
}
