package mqtt

import "strings"

// What clients subscribe and publish to, as filters.
const (
	twinFilter  = "$hw/events/device/+/+/twin/+"
	stateFilter = "$hw/events/device/+/+/state/+"
)

// parseDevice reads $hw/events/device/<namespace>/<name>/<kind>/<verb>. The
// topic is split, never searched: any name is an ordinary name.
func parseDevice(topic string) (id, action string, ok bool) {
	levels := strings.Split(topic, "/")
	if len(levels) != 7 || levels[0] != "$hw" || levels[1] != "events" || levels[2] != "device" || levels[3] == "" || levels[4] == "" {
		return "", "", false
	}
	return levels[3] + "/" + levels[4], levels[5] + "/" + levels[6], true
}

func deviceTopic(id, suffix string) string { return "$hw/events/device/" + id + "/" + suffix }

func nodeTopic(node, suffix string) string { return "$hw/events/node/" + node + "/" + suffix }
