package main

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// TestAPIAddress: on which address pods reach the node's own API, and what a bad one is.
func TestAPIAddress(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, tt := range map[string]struct {
		off  bool
		addr string
		want string // "" is none
		bad  bool
	}{
		"turned off":      {off: true, addr: "127.0.0.1:0"},
		"no address":      {},
		"loopback":        {addr: "127.0.0.1:0", want: "127.0.0.1:0"},
		"taken":           {addr: taken.Addr().String(), bad: true},
		"another machine": {addr: "192.0.2.77:6443", bad: true},
	} {
		r := &runCmd{LocalAPI: !tt.off}
		if tt.addr != "" {
			r.LocalAPIListen = netip.MustParseAddrPort(tt.addr)
		}
		l, err := r.listenAPI(slog.New(slog.DiscardHandler))
		got := r.LocalAPIListen
		if (l != nil) != got.IsValid() {
			t.Errorf("%s: a listener %v for %s", name, l, got)
		}
		if l != nil {
			// Nothing else of the machine may take the address until the API serves it.
			if other, err := net.Listen("tcp", l.Addr().String()); err == nil {
				other.Close()
				t.Errorf("%s: another program can listen on %s too", name, l.Addr())
			}
			defer l.Close()
		}
		usage, isUsage := errors.AsType[*program.UsageError](err)
		switch {
		case tt.bad && (!isUsage || usage.Setting != "local-api-listen"):
			t.Errorf("%s: %v", name, err)
		case !tt.bad && (err != nil || tt.want == "" && got.IsValid() || tt.want != "" && got.String() != tt.want):
			t.Errorf("%s: %s %v", name, got, err)
		}
		if slices.Contains(r.capabilities(), wire.Access) != (tt.want != "") {
			t.Errorf("%s: the hello names %q", name, r.capabilities())
		}
	}
}

// TestDefaultAPIAddress: a machine on which the default address does not work, here because an agent
// beside this one has it, runs without.
func TestDefaultAPIAddress(t *testing.T) {
	addr := netip.MustParseAddrPort(defaultAPIAddress)
	var log bytes.Buffer
	r := &runCmd{LocalAPI: true, LocalAPIListen: addr}
	l, err := r.listenAPIBy(slog.New(slog.NewTextHandler(&log, nil)), func(netip.AddrPort) (net.Listener, error) {
		return nil, errors.New("address already in use")
	})
	if got := r.LocalAPIListen; err != nil || l != nil || got.IsValid() || !strings.Contains(log.String(), "local-api-listen") {
		t.Errorf("%v %s %v: %s", l, r.LocalAPIListen, err, log.String())
	}
}
