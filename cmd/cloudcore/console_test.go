package main

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestConsoleFlags: bad settings are refused by name; the default address in use is no reason to
// serve no nodes.
func TestConsoleFlags(t *testing.T) {
	var hosts []string
	parts := consoleParts{namespace: "ns", log: slog.New(slog.DiscardHandler), issue: func(h ...string) (func() (*tls.Certificate, error), error) {
		hosts = h
		return nil, nil
	}}
	taken, err := net.Listen("tcp", defaultConsole)
	if err == nil {
		defer taken.Close()
	}
	good := consoleFlags{Listen: "127.0.0.1:0", SessionIdle: time.Hour, SessionLife: time.Hour}
	for setting, change := range map[string]func(*consoleFlags){
		"":                     func(*consoleFlags) {},
		"console-session-idle": func(f *consoleFlags) { f.SessionIdle = 2 * time.Hour },
		"console-session-life": func(f *consoleFlags) { f.SessionLife = 1000 * time.Hour },
		"console-cert":         func(f *consoleFlags) { f.Cert = "/none" },
		"console-listen":       func(f *consoleFlags) { f.Listen = "odd" },
	} {
		f := good
		change(&f)
		cfg, err := f.config(parts)
		if usage, _ := errors.AsType[*program.UsageError](err); setting != "" && (usage == nil || usage.Setting != setting) || setting == "" && err != nil {
			t.Errorf("%s: %v", setting, err)
		}
		if cfg != nil {
			cfg.Listener.Close()
		}
	}
	if !slices.Contains(hosts, "cloudcore-console.ns.svc") || !slices.Contains(hosts, "127.0.0.1") {
		t.Errorf("the certificate is for %q", hosts)
	}
	for _, address := range []string{"", defaultConsole} {
		f := good
		f.Listen = address
		if cfg, err := f.config(parts); err != nil || cfg != nil {
			t.Errorf("%q: %v, %v", address, cfg, err)
		}
	}
}
