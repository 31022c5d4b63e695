package main

import (
	"crypto/tls"
	"log/slog"
	"testing"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/quicconn"
	"github.com/edgekit/edgekit/hub/wsconn"
)

func TestNewDialer(t *testing.T) {
	for _, tt := range []struct {
		transport string
		want      func(hub.Dialer) bool
	}{
		{transportAuto, func(d hub.Dialer) bool { _, ok := d.(*hub.Racer); return ok }},
		{transportQUIC, func(d hub.Dialer) bool { _, ok := d.(*quicconn.Dialer); return ok }},
		{transportWebSocket, func(d hub.Dialer) bool { _, ok := d.(*wsconn.Dialer); return ok }},
		{"pigeon", func(d hub.Dialer) bool { return d == nil }},
	} {
		t.Run(tt.transport, func(t *testing.T) {
			d, err := newDialer(tt.transport, "cloud.example:10000", &tls.Config{MinVersion: tls.VersionTLS13}, slog.New(slog.DiscardHandler))
			if !tt.want(d) || (d == nil) != (err != nil) {
				t.Errorf("got %T, %v", d, err)
			}
		})
	}
	if _, err := newDialer(transportAuto, "no port", &tls.Config{}, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("an address without a port was taken")
	}
}
