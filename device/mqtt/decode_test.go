package mqtt

import (
	"slices"
	"testing"

	"github.com/edgekit/edgekit/bus"
)

const list = `{"timestamp":100,"devices":[{"id":"a/b","twin":{"t":{"expected":{"value":"1","metadata":{"timestamp":50}}},"u":{"actual":{"value":"x"}}},"spec":{"protocol":{"protocolName":"p"}}}]}`

const (
	detail  = "$hw/events/node/n/membership/detail/result"
	updated = "$hw/events/node/n/membership/updated"
)

func (v *view) play(t *testing.T, topic, payload string) {
	t.Helper()
	if _, err := v.apply(bus.Message{Topic: topic, Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
}

// TestFollow: documents and lists overtake each other.
func TestFollow(t *testing.T) {
	const doc = "$hw/events/device/a/b/twin/update/document"
	state := view{list: detail, updated: updated}
	state.play(t, doc, `{"timestamp":60,"twin":{"t":{"current":{"expected":{"value":"0","metadata":{"timestamp":60}}}}}}`)
	if state.entries != nil {
		t.Fatal("a document made a device")
	}
	state.play(t, detail, list)
	check := func(what, want string) {
		t.Helper()
		if got := instances(state.entries)[0].Desired["t"]; got != want {
			t.Errorf("%s: desired value is %q, want %q", what, got, want)
		}
	}
	check("list", "1")
	state.play(t, doc, `{"timestamp":40,"twin":{"t":{"current":{"expected":{"value":"0","metadata":{"timestamp":40}}}}}}`)
	check("an older document", "1")
	state.play(t, doc, `{"timestamp":200,"twin":{"t":{"current":{"expected":{"value":"2","metadata":{"timestamp":200}}}}}}`)
	check("a newer document", "2")
	state.play(t, detail, list)
	check("a list that the document has overtaken", "2")
	state.play(t, doc, `{"timestamp":300,"twin":{"t":{"current":null}}}`)
	check("no desired value", "")
	state.play(t, doc, `{"timestamp":9000000,"twin":{"t":{"current":{"expected":{"value":"3","metadata":{"timestamp":9000000}}}}}}`)
	state.play(t, detail, list)
	check("the edge's clock was set back", "1")
}

func FuzzFollow(f *testing.F) {
	f.Add("$hw/events/node/n/membership/detail/result", []byte(list))
	f.Add("$hw/events/device/a/b/twin/update/document", []byte(`{"timestamp":1,"twin":{"t":{"current":{"expected":{"value":"2"}}},"u":{"current":null}}}`))
	f.Add("$hw/events/device/a", []byte(`{}`))
	f.Add("/membership/detail/result", []byte(`{"devices":[{"twin":{"t":null},"spec":null}]}`))
	f.Add("$hw/events/node/n/membership/updated", []byte(`{"added_devices":[{"id":"a/c"}],"removed_devices":[{"id":"a/b"}],"changed_devices":null,"revision":2}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		v := view{list: detail, updated: updated}
		v.play(t, detail, list)
		if changed, err := v.apply(bus.Message{Topic: topic, Payload: payload}); err == nil && changed {
			instances(v.entries)
		}
	})
}

// TestPages has the list come in several messages, and changes between them.
func TestPages(t *testing.T) {
	v := view{list: detail, updated: updated}
	have := func(want ...string) {
		t.Helper()
		var got []string
		for _, d := range instances(v.entries) {
			got = append(got, d.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("devices are %v, want %v", got, want)
		}
	}
	v.play(t, updated, `{"added_devices":[{"id":"a/z"}],"revision":6}`)
	have() // before the list there is nothing
	v.play(t, detail, `{"event_id":"1","devices":[{"id":"a/a"}],"more":true,"revision":7}`)
	have()
	v.play(t, detail, `{"event_id":"2","devices":[{"id":"a/b"}],"more":true,"revision":7}`) // another's list
	v.play(t, detail, `{"event_id":"2","devices":[{"id":"a/c"}],"revision":7}`)
	have("a/b", "a/c")
	v.play(t, updated, `{"added_devices":[{"id":"a/d"}],"revision":8}`)
	v.play(t, updated, `{"changed_devices":[{"id":"a/c","spec":{"protocol":{"protocolName":"p"}}}],"revision":9}`)
	v.play(t, updated, `{"removed_devices":[{"id":"a/b"}],"revision":10}`)
	have("a/c", "a/d")
	if v.entries["a/c"].spec.Protocol.Name != "p" || v.missed {
		t.Errorf("spec is %+v, missed %v", v.entries["a/c"].spec, v.missed)
	}
	v.play(t, updated, `{"added_devices":[{"id":"a/f"}],"revision":12}`)
	if !v.missed {
		t.Error("a gap was not noticed")
	}
	have("a/c", "a/d", "a/f")
}
