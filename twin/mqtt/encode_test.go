package mqtt

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/topics"
	"github.com/edgekit/edgekit/twin"
)

// TestEncode compares what is written by hand with what encoding/json writes.
func TestEncode(t *testing.T) {
	texts := []string{"", "21", "ä", `"quoted" \ <b>&`, "\u2028\x00\t", "true", "a long one with spaces"}
	r := rand.New(rand.NewPCG(1, 2))
	text := func() string { return texts[r.IntN(len(texts))] }
	value := func() *twin.Value {
		if r.IntN(3) == 0 {
			return nil
		}
		return &twin.Value{Value: text(), Time: r.Int64N(3) * 1760000000044, Measured: r.Int64N(2) * 1760000000043, Fault: texts[r.IntN(3)]}
	}
	now := time.UnixMilli(1760000000044)
	for range 2000 {
		result, document := make(map[string]*twin.Twin), make(map[string]twin.Transition)
		delta := twin.Delta{Twins: make(map[string]twin.Twin), Values: make(map[string]string)}
		one := func() *twin.Twin {
			if r.IntN(4) == 0 {
				return nil
			}
			return &twin.Twin{Expected: value(), Actual: value(), Type: text(), Optional: r.IntN(2) == 0, Deleted: r.IntN(5) == 0}
		}
		for i := range r.IntN(4) {
			name := fmt.Sprint(text(), i)
			result[name], document[name] = one(), twin.Transition{Last: one(), Current: one()}
			if tw := one(); tw != nil {
				delta.Twins[name], delta.Values[name] = *tw, text()
			}
		}
		id := text()
		stale := func(name string) bool { return len(name)%2 == 0 }
		m := &topics.TwinUpdateMessage{Twin: make(map[string]*topics.Twin)}
		for name, tw := range result {
			if m.Twin[name] = encodeTwin(tw); m.Twin[name] != nil && tw.Actual != nil && stale(name) {
				m.Twin[name].Actual.Metadata.Quality = string(twin.Stale)
			}
		}
		m.Stamp(id, now)
		compareJSON(t, m, appendResult(nil, id, now, result, stale))
		d := &topics.TwinDocumentMessage{Twin: make(map[string]topics.Transition)}
		for name, step := range document {
			d.Twin[name] = topics.Transition{Last: encodeTwin(step.Last), Current: encodeTwin(step.Current)}
		}
		d.Stamp(id, now)
		compareJSON(t, d, appendDocument(nil, id, now, document))
		x := &topics.TwinDeltaMessage{Twin: make(map[string]*topics.Twin), Delta: delta.Values}
		for name, tw := range delta.Twins {
			x.Twin[name] = encodeTwin(&tw)
		}
		x.Stamp(id, now)
		compareJSON(t, x, appendDelta(nil, id, now, delta))
	}
}

func compareJSON(t *testing.T, m any, got []byte) {
	t.Helper()
	want, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

// quickSeeds are updates in the usual form, and some that look like it.
var quickSeeds = []string{
	`{"event_id":"e-2","timestamp":1760000000000,"twin":{"t":{"actual":{"value":"21","metadata":{"timestamp":1}},"metadata":{"type":"int"}},"gone":null}}`,
	` { "twin" : { "a" : { "expected" : { "value" : "" } , "optional" : false } } } `, `{"twin":{}}`, `{"twin":{"a":{}}}`,
	`{"twin":{"a":{"actual":{"value":"x"},"actual":{"value":"y"}}}}`, `{"twin":{"a":null,"a":null}}`, `{"twin":{"a":{"Actual":{"value":"x"}}}}`,
	`{"twin":{"a":{"actual":{}}}}`, `{"twin":{"a":nullx}}`, `{"event_id":"a","event_id":"b","twin":{}}`, `{"timestamp":01,"twin":{}}`, `{"timestamp":1.5,"twin":{}}`,
	`{"timestamp":-1,"twin":{}}`, `{"twin":{}}x`, `{"twin":{"a":{"actual":{"value":"\u0041"}}}}`, `{"twin":{"a":{"actual":{"value":null}}}}`, `{"twin":{"a":{"optional":true,"metadata":{}}}}`,
	`{"twin":{"a":{"actual":{"value":"1"},"actual_version":{"cloud":1,"edge":2}}}}`, `{"twin":{},}`, `{"twin":{"a":{"optional":truefalse}}}`, `{"twin":{"a":{"actual":{"value":"1","metadata":{"timestamp":1,"x":2}}}}}`,
	`{"twin":{"a":{"actual":{"value":"1","metadata":{"timestamp":1,"measured":1760000000000}}}}}`, `{"twin":{"a":{"actual":{"value":"1","metadata":{"measured":-9223372036854775808}}}}}`,
}

// FuzzQuickUpdate compares the quick reader of updates with the one that reads all of them:
// what it reads is the same.
func FuzzQuickUpdate(f *testing.F) {
	for _, seed := range quickSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		quick, id, ok := quickUpdate(payload)
		if !ok {
			return
		}
		slow, slowID, err := slowUpdate(payload)
		if err != nil || id != slowID || !reflect.DeepEqual(quick, slow) {
			t.Errorf("%s\nquick %q %v\nslow  %q %v %v", payload, id, quick, slowID, slow, err)
		}
	})
}

// TestQuickUpdate has the usual updates be read quickly, and no others.
func TestQuickUpdate(t *testing.T) {
	for i, seed := range quickSeeds {
		usual := i < 4 || seed == `{"timestamp":-1,"twin":{}}` || seed == `{"twin":{"a":{"optional":true,"metadata":{}}}}`
		if _, _, ok := quickUpdate([]byte(seed)); ok != usual {
			t.Errorf("%s: read quickly is %v, want %v", seed, ok, usual)
		}
	}
}
