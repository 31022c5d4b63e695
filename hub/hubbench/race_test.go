package hubbench_test

import (
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
)

// TestRace checks that an edge uses QUIC, and WebSocket where UDP is blocked.
func TestRace(t *testing.T) {
	for want, blocked := range map[string]bool{"quic": false, "websocket": true} {
		t.Run(want, func(t *testing.T) {
			quic, ws := listenQUIC(t), listenWS(t)
			p := hubtest.NewPacketProxy(t, quic.addr, 1)
			p.Block(blocked)
			r, err := hub.NewRacer(hub.RaceConfig{Lanes: []hub.Lane{
				{Name: "quic", Dialer: quic.dialer(t, p.Addr())},
				{Name: "websocket", Dialer: ws.dialer(t, ws.addr)},
			}, HeadStart: 2 * time.Second}) // enough on a busy machine, too
			if err != nil {
				t.Fatal(err)
			}
			s := quic
			if blocked {
				s = ws
			}
			if l := connectWith(t, s, r); l.client.Info().Transport != want {
				t.Errorf("the session is over %s, want %s", l.client.Info().Transport, want)
			}
		})
	}
}
