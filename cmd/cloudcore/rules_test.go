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

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller/rules"
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

// TestRulesMetrics: the metrics of rules come out with their values.
func TestRulesMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newRulesMetrics(func() rules.Stats {
		return rules.Stats{Delivered: 1, Failed: 2, DeadLetters: 3, Dropped: 4, Waiting: 5}
	}))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	for name, want := range map[string]float64{"delivered_total": 1, "failed_total": 2, "dead_letters_total": 3, "dropped_messages_total": 4, "waiting_messages": 5} {
		if got["cloudcore_rules_"+name] != want {
			t.Errorf("%s is %v", name, got["cloudcore_rules_"+name])
		}
	}
}
