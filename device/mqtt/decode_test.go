package mqtt

import (
	"testing"

	"github.com/edgekit/edgekit/bus"
)

const list = `{"timestamp":100,"devices":[{"id":"a/b","twin":{"t":{"expected":{"value":"1","metadata":{"timestamp":50}}},"u":{"actual":{"value":"x"}}},"spec":{"protocol":{"protocolName":"p"}}}]}`

func play(t *testing.T, held map[string]*entry, topic, payload string) map[string]*entry {
	t.Helper()
	next, err := follow(held, bus.Message{Topic: topic, Payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
	if next == nil {
		return held
	}
	return next
}

// TestFollow: documents and lists overtake each other.
func TestFollow(t *testing.T) {
	const detail, doc = "$hw/events/node/n/membership/detail/result", "$hw/events/device/a/b/twin/update/document"
	state := play(t, nil, doc, `{"timestamp":60,"twin":{"t":{"current":{"expected":{"value":"0","metadata":{"timestamp":60}}}}}}`)
	if state != nil {
		t.Fatal("a document made a device")
	}
	state = play(t, state, detail, list)
	check := func(what, want string) {
		t.Helper()
		if got := instances(state)[0].Desired["t"]; got != want {
			t.Errorf("%s: desired value is %q, want %q", what, got, want)
		}
	}
	check("list", "1")
	state = play(t, state, doc, `{"timestamp":40,"twin":{"t":{"current":{"expected":{"value":"0","metadata":{"timestamp":40}}}}}}`)
	check("an older document", "1")
	state = play(t, state, doc, `{"timestamp":200,"twin":{"t":{"current":{"expected":{"value":"2","metadata":{"timestamp":200}}}}}}`)
	check("a newer document", "2")
	state = play(t, state, detail, list)
	check("a list that the document has overtaken", "2")
	state = play(t, state, doc, `{"timestamp":300,"twin":{"t":{"current":null}}}`)
	check("no desired value", "")
	state = play(t, state, doc, `{"timestamp":9000000,"twin":{"t":{"current":{"expected":{"value":"3","metadata":{"timestamp":9000000}}}}}}`)
	state = play(t, state, detail, list)
	check("the edge's clock was set back", "1")
}

func FuzzFollow(f *testing.F) {
	f.Add("$hw/events/node/n/membership/detail/result", []byte(list))
	f.Add("$hw/events/device/a/b/twin/update/document", []byte(`{"timestamp":1,"twin":{"t":{"current":{"expected":{"value":"2"}}},"u":{"current":null}}}`))
	f.Add("$hw/events/device/a", []byte(`{}`))
	f.Add("/membership/detail/result", []byte(`{"devices":[{"twin":{"t":null},"spec":null}]}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		held, err := follow(nil, bus.Message{Topic: "/membership/detail/result", Payload: []byte(list)})
		if err != nil {
			t.Fatal(err)
		}
		next, err := follow(held, bus.Message{Topic: topic, Payload: payload})
		if err == nil && next != nil {
			instances(next)
		}
	})
}
