package main

import (
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// TestLinkMessages has one of the two topics retained, and the other cleared.
func TestLinkMessages(t *testing.T) {
	since := time.Unix(1000, 0).UTC()
	up := linkMessages(hub.Info{Node: "n", Connected: true, Since: since, Transport: "quic"})
	down := linkMessages(hub.Info{Node: "n", Since: since, Reason: "link lost"})
	if got := up[1]; got.Topic != "$hw/events/connected/n" || !got.Retain || string(got.Payload) != `{"since":"1970-01-01T00:16:40Z","transport":"quic"}` {
		t.Errorf("connected: %+v %s", got, got.Payload)
	}
	if got := down[1]; got.Topic != "$hw/events/disconnected/n" || string(got.Payload) != `{"since":"1970-01-01T00:16:40Z","reason":"link lost"}` {
		t.Errorf("disconnected: %+v %s", got, got.Payload)
	}
	if up[0].Topic != down[1].Topic || down[0].Topic != up[1].Topic || !up[0].Retain || len(up[0].Payload)+len(down[0].Payload) > 0 {
		t.Errorf("what was retained is not cleared: %+v %+v", up[0], down[0])
	}
}
