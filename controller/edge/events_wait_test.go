package edge_test

import (
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestEventsWait: a node that reports events faster than they are written loses none of them, by this limit.
// They come again until each is written, in their order.
func TestEventsWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := start(t, controllertest.NewClientset())
		var written hubtest.Inbox
		inbox := c.Inbox("n", &written)
		const batch, all = 128, 10_000
		begun := time.Now()
		for id := uint64(1); id <= all; {
			events := make([]hub.Event, 0, batch)
			for ; id <= all && len(events) < batch; id++ {
				events = append(events, hub.Event{Source: "s", ID: id, Key: hub.Key{Resource: "events", Namespace: "a", Name: strconv.FormatUint(id, 10)}})
			}
			for pause := 250 * time.Millisecond; ; pause *= 2 {
				err := inbox.Append(t.Context(), "s", events)
				if err == nil {
					break
				}
				if e, ok := errors.AsType[*hub.Error](err); !ok || e.Final() {
					t.Fatal(err)
				}
				time.Sleep(pause)
			}
		}
		if took := time.Since(begun); took < 50*time.Second || took > 2*time.Minute || c.EventWaits() == 0 {
			t.Errorf("%d events took %s, with %d waits", all, took, c.EventWaits())
		}
		if n := written.Len(); n != all {
			t.Errorf("%d events are written of %d", n, all)
		}
	})
}
