package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/quicconn"
)

// addQUIC serves QUIC beside over, on the UDP port with the number of over's
// TCP port. A UDP port that cannot be had costs only QUIC: nodes come over
// WebSocket then.
func addQUIC(ctx context.Context, over hub.Listener, cfg *tls.Config, keepalive time.Duration, store *nodeidentity.Store, log *slog.Logger) (hub.Listener, error) {
	keys, err := store.LinkKeys(ctx)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenPacket("udp", over.Addr().String())
	if err != nil {
		log.Warn("QUIC is off, nodes connect over WebSocket only: free the UDP port, or turn QUIC off with --no-quic", "err", err)
		return over, nil
	}
	q, err := quicconn.Listen(quicconn.ListenerConfig{
		Socket: socket, TLS: cfg, ResetKey: (*quicconn.Key)(&keys.Reset), TokenKey: (*quicconn.Key)(&keys.Token),
		Keepalive: keepalive,
	})
	if err != nil {
		return nil, fmt.Errorf("cloudcore: %w", err)
	}
	return hub.Listeners(over, q)
}
