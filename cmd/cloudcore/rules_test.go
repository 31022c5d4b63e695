package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestRulesConfig: rules work without the port for callers, which a flag opens; wrong settings
// are refused by name.
func TestRulesConfig(t *testing.T) {
	p := rulesParts{
		rest: &rest.Config{}, hosts: []string{"127.0.0.1"}, log: slog.New(slog.DiscardHandler), bundle: func() []byte { return nil },
		issue: func(...string) (func() (*tls.Certificate, error), error) {
			return func() (*tls.Certificate, error) { return nil, errors.New("none") }, nil
		},
	}
	if cfg, err := (&rulesFlags{Off: true}).config(p); cfg != nil || err != nil {
		t.Errorf("off: %+v, %v", cfg, err)
	}
	if cfg, err := (&rulesFlags{Timeout: time.Minute}).config(p); err != nil || cfg.Entry != nil {
		t.Errorf("no port: %+v, %v", cfg, err)
	}
	cfg, err := (&rulesFlags{Timeout: time.Minute, Listen: "127.0.0.1:0"}).config(p)
	if err != nil || cfg.Entry == nil || cfg.Entry.Peer != nil {
		t.Fatalf("%+v, %v", cfg, err)
	}
	taken := cfg.Entry.Listener
	defer taken.Close()
	p.address = netip.MustParseAddr("10.0.0.1")
	if cfg, err = (&rulesFlags{Timeout: time.Minute, Listen: "127.0.0.1:0"}).config(p); err != nil {
		t.Fatal(err)
	}
	defer cfg.Entry.Listener.Close()
	if peer := cfg.Entry.Peer; peer == nil || peer.Address != "10.0.0.1" || peer.Port != cfg.Entry.Listener.Addr().(*net.TCPAddr).Port {
		t.Errorf("other cloudcores: %+v", peer)
	}
	if _, err := cfg.Entry.Peer.Transport.(*peerTransport).current(); err == nil {
		t.Error("other cloudcores are reached without an authority")
	}
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for setting, f := range map[string]rulesFlags{
		"rules-timeout":   {},
		"rules-target-ca": {Timeout: time.Minute, TargetCA: empty},
		"rules-listen":    {Timeout: time.Minute, Listen: taken.Addr().String()},
	} {
		_, err := f.config(p)
		if usage, ok := errors.AsType[*program.UsageError](err); !ok || usage.Setting != setting {
			t.Errorf("%s: %v", setting, err)
		}
	}
}
