package topics_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/edgekit/edgekit/bus/topics"
)

func TestTopics(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{topics.Device("a/b", topics.TwinUpdate), "$hw/events/device/a/b/twin/update"},
		{topics.Device("a/b", topics.Result(topics.TwinUpdate)), "$hw/events/device/a/b/twin/update/result"},
		{topics.Device("a/b", topics.Result(topics.TwinCloudUpdated)), "$hw/events/device/a/b/twin/update/result"},
		{topics.Device("a/b", topics.TwinDocument), "$hw/events/device/a/b/twin/update/document"},
		{topics.Device("a/b", topics.TwinDelta), "$hw/events/device/a/b/twin/update/delta"},
		{topics.Device("a/b", topics.Result(topics.TwinGet)), "$hw/events/device/a/b/twin/get/result"},
		{topics.Device(topics.AnyDevice, topics.Result(topics.StateUpdate)), "$hw/events/device/+/+/state/update/result"},
		{topics.Device("a/b", topics.StateGet), "$hw/events/device/a/b/state/get"},
		{topics.Node("n", topics.Result(topics.MembershipGet)), "$hw/events/node/n/membership/get/result"},
		{topics.Node("n", topics.Result(topics.MembershipDetail)), "$hw/events/node/n/membership/detail/result"},
		{topics.Node("n", topics.MembershipUpdated), "$hw/events/node/n/membership/updated"},
		{topics.Node("n", topics.OfProtocol("modbus", topics.Result(topics.MembershipDetail))), "$hw/events/node/n/membership/protocol/modbus/detail/result"},
		{topics.Node("n", topics.OfProtocol("opc/ua+#%", topics.MembershipUpdated)), "$hw/events/node/n/membership/protocol/opc%2Fua%2B%23%25/updated"},
		{topics.Node("n", topics.OfProtocol("modbus", topics.Result(topics.MembershipClaim))), "$hw/events/node/n/membership/protocol/modbus/claim/result"},
		{topics.Connected("n"), "$hw/events/connected/n"},
		{topics.Disconnected("n"), "$hw/events/disconnected/n"},
	} {
		if test.got != test.want {
			t.Errorf("got %s, want %s", test.got, test.want)
		}
	}
}

func TestParseDevice(t *testing.T) {
	for topic, want := range map[string]struct {
		id, action string
	}{
		"$hw/events/device/a/b/twin/update":          {"a/b", "twin/update"},
		"$hw/events/device/dev/node/twin/get/result": {"dev/node", "twin/get/result"},
		"$hw/events/device/device/events/x":          {"device/events", "x"},
		"$hw/events/device/a/b":                      {},
		"$hw/events/device/a/b/":                     {},
		"$hw/events/device//b/twin/get":              {},
		"$hw/events/device/a//twin/get":              {},
		"$hw/events/node/a/b/twin/get":               {},
		"":                                           {},
	} {
		id, action, ok := topics.ParseDevice(topic)
		if id != want.id || action != want.action || ok != (want.id != "") {
			t.Errorf("%s: got %q %q %v", topic, id, action, ok)
		}
	}
}

func TestParseProtocol(t *testing.T) {
	for action, want := range map[string][2]string{
		"membership/protocol/modbus/detail":        {"modbus", "membership/detail"},
		"membership/protocol/modbus/detail/result": {"modbus", "membership/detail/result"},
		"membership/protocol/a%2Fb/updated":        {"a%2Fb", "membership/updated"},
		"membership/protocol/modbus/claim":         {"modbus", "membership/claim"},
		"membership/protocol/modbus/claim/result":  {"modbus", "membership/claim/result"},
		"membership/protocol//updated":             {},
		"membership/protocol/a":                    {},
		"membership/protocol/a/b/updated":          {},
		"membership/detail":                        {},
	} {
		level, of, ok := topics.ParseProtocol(action)
		if level != want[0] || of != want[1] || ok != (of != "") {
			t.Errorf("%s: got %q %q %v", action, level, of, ok)
		}
	}
}

func FuzzParseDevice(f *testing.F) {
	f.Add("$hw/events/device/dev/node/twin/update")
	f.Add("$hw/events/device///twin/update")
	f.Fuzz(func(t *testing.T, topic string) {
		if id, action, ok := topics.ParseDevice(topic); ok && topics.Device(id, action) != topic {
			t.Errorf("%q was read as %q %q", topic, id, action)
		}
	})
}

// TestNoValue reads values that are not there.
func TestNoValue(t *testing.T) {
	for _, v := range []*topics.Value{nil, {}, {Metadata: &topics.ValueMetadata{}}} {
		if v.Text() != "" || v.Time() != 0 {
			t.Errorf("%+v: got %q at %d", v, v.Text(), v.Time())
		}
	}
}

func Example() {
	m := topics.TwinUpdateMessage{Twin: map[string]*topics.Twin{"temperature": {Actual: topics.Text("21")}}}
	m.EventID = "app-1"
	payload, err := json.Marshal(m)
	fmt.Println(topics.Device("plant/boiler", topics.TwinUpdate), string(payload), err)
	// Output: $hw/events/device/plant/boiler/twin/update {"event_id":"app-1","timestamp":0,"twin":{"temperature":{"actual":{"value":"21"}}}} <nil>
}
