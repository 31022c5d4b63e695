package mqtt

import (
	"fmt"
	"slices"
	"strings"
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

// FuzzDecodeCall looks for a call of a method that panics, or that is taken although it cannot
// be answered.
func FuzzDecodeCall(f *testing.F) {
	f.Add("$hw/events/device/a/b/method/call", []byte(`{"event_id":"1","method":"purge","parameters":{"a":1},"deadline":5}`))
	f.Add("$hw/events/device/a/b", []byte(`{"method":1}`))
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		id, call, err := decodeCall(bus.Message{Topic: topic, Payload: payload})
		if id == "" && (err != nil || call.Method != "") {
			t.Errorf("%q %q: a call of no device: %+v, %v", topic, payload, call, err)
		}
		if err == nil && id != "" && (call.Method == "" || call.Deadline < 0) {
			t.Errorf("%q: %+v", payload, call)
		}
	})
}

// TestDocumentBeforeFirstList has a document come before the message that adds its device and was
// made before it: the list is requested again, once. A document about another mapper's device has
// no part in it.
func TestDocumentBeforeFirstList(t *testing.T) {
	const (
		doc   = "$hw/events/device/a/b/twin/update/document"
		newer = `{"timestamp":%d,"twin":{"t":{"current":{"expected":{"value":"2","metadata":{"timestamp":200}}}}}}`
	)
	for name, first := range map[string]struct{ topic, payload string }{
		"list":       {detail, list},
		"membership": {updated, `{"timestamp":100,"revision":1,"added_devices":[{"id":"a/b","twin":{"t":{"expected":{"value":"1","metadata":{"timestamp":50}}}}}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			v := view{list: detail, updated: updated}
			if first.topic == updated {
				v.play(t, detail, `{"timestamp":90,"devices":[]}`)
			}
			v.play(t, doc, fmt.Sprintf(newer, 200))
			v.play(t, first.topic, first.payload)
			if !v.missed {
				t.Fatal("the list is not requested again: the document is lost")
			}
			v.missed = false
			v.play(t, "$hw/events/device/a/other/twin/update/document", fmt.Sprintf(newer, 201))
			v.play(t, detail, `{"timestamp":202,"revision":1,"devices":[{"id":"a/b","twin":{"t":{"expected":{"value":"2","metadata":{"timestamp":200}}}}}]}`)
			if got := instances(v.entries)[0].Desired["t"]; got != "2" || v.missed {
				t.Errorf("desired value is %q, requested again %v", got, v.missed)
			}
		})
	}
}

// TestDocumentOfACommit has a list that was made while a value was stored: it does not have the
// value, whose time is before the list's and whose document has overtaken the list.
func TestDocumentOfACommit(t *testing.T) {
	v := view{list: detail, updated: updated}
	v.play(t, detail, list)
	v.play(t, "$hw/events/device/a/b/twin/update/document", `{"timestamp":195,"twin":{"t":{"current":{"expected":{"value":"2","metadata":{"timestamp":195}}}}}}`)
	v.play(t, detail, strings.Replace(list, `"timestamp":100`, `"timestamp":200`, 1))
	if got := instances(v.entries)[0].Desired["t"]; got != "2" {
		t.Errorf("desired value is %q, want 2", got)
	}
}

// TestDocumentBetweenPages has a document come between two messages of one list, of which the first was
// made before it.
func TestDocumentBetweenPages(t *testing.T) {
	v := view{list: detail, updated: updated}
	v.play(t, detail, list)
	page := strings.Replace(list, `"timestamp":100`, `"timestamp":150,"event_id":"l"`, 1)
	v.play(t, detail, strings.Replace(page, `"event_id":"l"`, `"event_id":"l","more":true`, 1))
	v.play(t, "$hw/events/device/a/b/twin/update/document", `{"timestamp":200,"twin":{"t":{"current":{"expected":{"value":"2","metadata":{"timestamp":200}}}}}}`)
	v.play(t, detail, `{"timestamp":150,"event_id":"l","revision":1,"devices":[{"id":"a/c"}]}`)
	if got := instances(v.entries); len(got) != 2 || got[0].Desired["t"] != "2" {
		t.Errorf("%+v, want the desired value 2", got)
	}
}

// TestChangeBeforeFirstList has a change come before the first list, which was made before it: the list
// counts, and is requested again, once.
func TestChangeBeforeFirstList(t *testing.T) {
	v := view{list: detail, updated: updated}
	v.play(t, updated, `{"timestamp":110,"revision":8,"added_devices":[{"id":"a/c"}]}`)
	old := strings.Replace(list, `"timestamp":100`, `"timestamp":100,"revision":7`, 1)
	v.play(t, detail, old)
	if len(v.entries) != 1 || !v.missed {
		t.Fatalf("%d devices, requested again %v: the device that was added is lost", len(v.entries), v.missed)
	}
	v.missed = false
	v.play(t, detail, old) // the revisions of the edge began anew
	if v.missed {
		t.Error("the list is requested again and again")
	}
}

// TestOtherMappersDocuments has many documents of another mapper's devices come while devices are added:
// the list of all is not requested for each of them.
func TestOtherMappersDocuments(t *testing.T) {
	v := view{list: detail, updated: updated}
	v.play(t, detail, strings.Replace(list, `"timestamp":100`, `"timestamp":100000,"revision":1`, 1))
	requested := 0
	for i := range 10 * maxUnknown {
		v.play(t, fmt.Sprintf("$hw/events/device/a/other-%d/twin/update/document", i), `{"timestamp":100000,"twin":{}}`)
		v.play(t, updated, fmt.Sprintf(`{"timestamp":100000,"revision":%d,"added_devices":[{"id":"a/new-%d"}]}`, i+2, i))
		if v.missed {
			requested++
			v.missed = false
		}
		if len(v.unknown) > maxUnknown {
			t.Fatalf("%d devices are remembered", len(v.unknown))
		}
	}
	if requested > 10 {
		t.Errorf("the list was requested %d times", requested)
	}
	v.play(t, "$hw/events/device/a/"+strings.Repeat("x", 1000)+"/twin/update/document", `{"timestamp":100000,"twin":{}}`)
	if v.forgotten == 0 {
		t.Error("a document with a long ID is forgotten")
	}
}

// TestOvertakenList has a change come before a list that was made before it: the list does not
// undo the change, and is requested again. A second one that is as old counts.
func TestOvertakenList(t *testing.T) {
	v := view{list: detail, updated: updated}
	const old = `{"timestamp":100,"revision":5,"devices":[{"id":"a/b"},{"id":"a/c"}]}`
	v.play(t, detail, old)
	v.play(t, updated, `{"timestamp":101,"revision":6,"removed_devices":[{"id":"a/b"}]}`)
	v.missed = false
	v.play(t, detail, old)
	if len(v.entries) != 1 || !v.missed {
		t.Errorf("%d devices, requested again: %v", len(v.entries), v.missed)
	}
	v.play(t, detail, old)
	if len(v.entries) != 2 || v.revision != 5 {
		t.Errorf("%d devices at revision %d, after the edge began anew", len(v.entries), v.revision)
	}
}
