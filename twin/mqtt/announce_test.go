package mqtt_test

import (
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta/memstore"
	"github.com/edgekit/edgekit/twin"
)

// TestOpenDelta has a desired value in the store that no delta was published for, as when
// edgecore was killed between the two: a mapper that follows deltas gets it when edgecore has
// started, and again when the broker has come back.
func TestOpenDelta(t *testing.T) {
	store := memstore.New()
	n := startWith(t, store, time.Now)
	n.want(t, "$hw/events/node/node/membership/detail/result")
	put := twin.Put{Properties: []twin.Declaration{{Name: "target", Type: "int", Desired: twin.Text("25")}, {Name: "other"}}}
	for _, id := range []string{"plant/boiler", "plant/calm"} {
		if err := n.engine.Put(t.Context(), id, put); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.engine.Report(t.Context(), twin.Values{Device: "plant/calm", Values: map[string]string{"target": "25"}}); err != nil {
		t.Fatal(err)
	}
	again := startWith(t, store, time.Now) // on what is in the store
	for range 2 {
		again.want(t, "$hw/events/node/node/membership/detail/result", "plant/boiler")
		again.want(t, boiler+"twin/update/delta", `"delta":{"target":"25"}`)
		again.transport.Reconnect()
	}
}
