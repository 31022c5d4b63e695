package mqtt

import (
	"encoding/json"
	"testing"

	"github.com/edgekit/edgekit/bus/topics"
)

func FuzzDecodeRequest(f *testing.F) {
	for _, payload := range []string{
		`{"event_id":"e-2","twin":{"t":{"actual":{"value":"21"},"metadata":{"type":"int"}},"gone":null}}`,
		`{"twin":{"t":{"expected":{},"expected_version":{"cloud":1,"edge":18446744073709551615}}}}`,
		`{"state":"online"}`, `{"twin":[]}`, `null`, ``, "\xff",
	} {
		f.Add("twin/update", []byte(payload))
		f.Add("state/update", []byte(payload))
	}
	f.Fuzz(func(t *testing.T, action string, payload []byte) {
		request, _, err := decodeRequest(action, payload)
		if err == nil && request == nil && (action == "twin/update" || action == "twin/get") {
			t.Error("a request was neither decoded nor refused")
		}
		if err == nil && len(payload) > 0 && (action == "twin/update" || action == "state/update") && !json.Valid(payload) {
			t.Errorf("%q was taken", payload)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	f.Add("$hw/events/device/dev/node/twin/update")
	f.Add("$hw/events/device///twin/update")
	f.Add("$hw/events/device/a/b/c/twin/update")
	f.Fuzz(func(t *testing.T, topic string) {
		id, action, ok := parseRequest(topic)
		if ok && topics.Device(id, action) != topic {
			t.Errorf("%q was read as %q %q", topic, id, action)
		}
	})
}

func FuzzDecodeHistory(f *testing.F) {
	f.Add([]byte(`{"event_id":"e","properties":["a"],"from":1,"to":2,"limit":3,"after":{"a":4}}`))
	f.Add([]byte(`{"properties":[""]}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if m, err := decodeHistory(payload); err == nil && (m.Limit < 0 || m.From < 0 || len(m.Properties) > maxHistoryProperties) {
			t.Errorf("%+v", m)
		}
	})
}

func TestFindEventID(t *testing.T) {
	for payload, want := range map[string]string{
		`{"event_id":"e-1","twin":`: "e-1", `{"twin":{"event_id":"no"},"event_id" : "e\u002d1",`: "e-1", `{"a":"event_id","b":"no"`: "", `{"a":"x\"event_id","event_id":"y"`: "y",
		`{"event_id":5`: "", `{"event_id":"cut`: "", `{"event_id":"\q"`: "", ``: "", `"event_id"`: "", `{"event_id":["no"]`: "",
	} {
		if got := findEventID([]byte(payload)); got != want {
			t.Errorf("%s: %q, want %q", payload, got, want)
		}
	}
}
