package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
)

// The ways to the cloud, as the setting and the logs name them.
const (
	transportAuto      = "auto" // the first of the others that gets through
	transportQUIC      = "quic"
	transportWebSocket = "websocket"
)

// newDialer returns the dialer for the cloud. With auto it races QUIC and WebSocket and
// remembers the winner until the program ends. The race after a restart costs a quarter of a
// second where UDP is blocked.
func newDialer(transport, cloud string, cfg *tls.Config, log *slog.Logger) (hub.Dialer, error) {
	overQUIC, err := quicconn.NewDialer(quicconn.DialerConfig{Addr: cloud, TLS: cfg})
	if err != nil {
		return nil, err
	}
	overWebSocket, err := wsconn.NewDialer(wsconn.DialerConfig{URL: "https://" + cloud, TLS: cfg})
	if err != nil {
		return nil, err
	}
	switch transport {
	case transportQUIC:
		return overQUIC, nil
	case transportWebSocket:
		return overWebSocket, nil
	case transportAuto:
		return hub.NewRacer(hub.RaceConfig{Lanes: []hub.Lane{
			{Name: transportQUIC, Dialer: overQUIC}, {Name: transportWebSocket, Dialer: overWebSocket},
		}, Logger: log})
	}
	return nil, fmt.Errorf("unknown transport %q: use auto, quic or websocket", transport)
}
