package mqtt_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/twin"
)

// TestManyDevices has 1,000 devices: a change publishes the device that it is about, and the
// list comes in messages that a small client can take.
func TestManyDevices(t *testing.T) {
	n := start(t)
	const devices = 1000
	spec := json.RawMessage(`{"filler":"` + strings.Repeat("x", 3000) + `"}`)
	put := twin.Put{Member: twin.Member{Spec: spec}}
	revision := int64(0)
	for i := range devices {
		if err := n.engine.Put(t.Context(), fmt.Sprintf("plant/d%d", i), put); err != nil {
			t.Fatal(err)
		}
		m := n.want(t, "$hw/events/node/node/membership/updated")
		if len(m.Payload) > 2*len(spec) {
			t.Fatalf("one device more is published with %d bytes", len(m.Payload))
		}
		var update topics.MembershipMessage
		if err := json.Unmarshal(m.Payload, &update); err != nil {
			t.Fatal(err)
		}
		if revision != 0 && update.Revision != revision+1 {
			t.Errorf("revision %d after %d", update.Revision, revision)
		}
		revision = update.Revision
	}
	n.say(t, "$hw/events/node/node/membership/detail", `{"event_id":"e"}`)
	seen := make(map[string]bool)
	for more := true; more; {
		m := n.want(t, "$hw/events/node/node/membership/detail/result", `"event_id":"e"`)
		if len(m.Payload) > 160<<10 {
			t.Errorf("a message of the list has %d bytes", len(m.Payload))
		}
		var list topics.DeviceListMessage
		if err := json.Unmarshal(m.Payload, &list); err != nil {
			t.Fatal(err)
		}
		for _, d := range list.Devices {
			seen[d.ID] = true
		}
		if more = list.More; list.Revision != revision {
			t.Errorf("revision is %d, want %d", list.Revision, revision)
		}
	}
	if len(seen) != devices {
		t.Errorf("%d devices in the list", len(seen))
	}
}

// TestErrorTexts has clients err in the usual ways: the reason names the field and the remedy.
func TestErrorTexts(t *testing.T) {
	n := start(t)
	put := twin.Put{Properties: []twin.Declaration{{Name: "target", Type: "int", Rule: twin.Rule{Maximum: "80"}}}}
	if err := n.engine.Put(t.Context(), "plant/boiler", put); err != nil {
		t.Fatal(err)
	}
	n.want(t, "$hw/events/node/node/membership/updated")
	n.want(t, boiler+"twin/update/document")
	for payload, reason := range map[string]string{
		`{"twin":{"target":{"expected":{"value":21}}}}`:               `is of type number: it must be text in quotes`,
		`{"twin":{"target":{"optional":"yes"}}}`:                      `is of type string: it must be true or false`,
		`{"twin":[]}`:                                                 `is of type array: it must be an object`,
		"{\"twin\":{\"target\":{\"expected\":{\"value\":\"\xe4\"}}}}": `payload is not UTF-8`,
		`{"twin":{"target":{"expected":{"value":"900"}}}}`:            `is above the model's maximum 80`,
	} {
		n.say(t, boiler+"twin/update", payload)
		m := n.want(t, boiler+"twin/update/result", `"code":400`)
		if text := string(m.Payload); !strings.Contains(text, reason) || strings.Contains(text, "Go ") {
			t.Errorf("%s\nanswered %s\nwant     %s", payload, text, reason)
		}
	}
	n.say(t, boiler+"twin/update", `{"twin":{"target":{"actual":{"value":"90"}}}}`)
	n.want(t, boiler+"twin/update/result", `"quality":"bad"`, `"fault":"value \"90\" is above the model's maximum 80"`)
	n.want(t, boiler+"twin/update/document")
	n.say(t, boiler+"twin/update", `{"twin":{"target":{"actual":{"value":"70"}}}}`)
	n.want(t, boiler+"twin/update/result")
	n.want(t, boiler+"twin/update/document")
	n.say(t, boiler+"state/update", `{"state":"offline"}`)
	n.want(t, boiler+"state/update/result")
	n.say(t, boiler+"twin/get", `{}`)
	n.want(t, boiler+"twin/get/result", `"quality":"stale"`)
}
