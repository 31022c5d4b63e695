package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/meta/badgerstore"
)

// TestMQTTSettings refuses each wrong setting under its name.
func TestMQTTSettings(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	none := filepath.Join(dir, "none")
	local, outside := []string{"tcp://127.0.0.1:0"}, "tcp://127.0.0.1:1883"
	for setting, all := range map[string][]mqttFlags{
		"mqtt-listen": {
			{}, {MQTTListen: []string{"tcp://0.0.0.0:1884"}}, {MQTTListen: []string{"tls://127.0.0.1:1"}}, {MQTTListen: append(local, "mqtt://127.0.0.1:1")},
		},
		"mqtt-tls-cert":             {{MQTTListen: local, MQTTTLSCert: none, MQTTTLSKey: none}, {MQTTListen: local, MQTTTLSKey: none}},
		"mqtt-tls-client-ca":        {{MQTTListen: local, MQTTTLSClientCA: none}, {MQTTListen: local, MQTTTLSClientCA: empty}},
		"mqtt-broker":               {{MQTTMode: bus.External, MQTTBroker: "http://a:1"}, {MQTTMode: bus.External, MQTTBroker: "tcp://user:secret@a:1"}},
		"mqtt-broker-password-file": {{MQTTMode: bus.External, MQTTBroker: outside, MQTTBrokerPasswordFile: none}},
		"mqtt-broker-ca":            {{MQTTMode: bus.External, MQTTBroker: outside, MQTTBrokerCA: empty}},
		"mqtt-broker-cert":          {{MQTTMode: bus.External, MQTTBroker: outside, MQTTBrokerCert: empty, MQTTBrokerKey: empty}},
		"mqtt-bridge-out":           {{MQTTListen: local, MQTTBridgeOut: []string{"a"}}, {MQTTMode: bus.Both, MQTTListen: local, MQTTBroker: outside, MQTTBridgeOut: []string{"a/#/b"}}},
		"mqtt-bridge-in": {
			{MQTTMode: bus.External, MQTTBroker: outside, MQTTBridgeIn: []string{"a"}}, {MQTTMode: bus.Both, MQTTListen: local, MQTTBroker: outside, MQTTBridgeIn: []string{"$hw/#"}},
			{MQTTMode: bus.Both, MQTTListen: local, MQTTBroker: outside, MQTTBridgeIn: []string{"a/+", "a/b"}},
		},
		"mqtt-max-queue":             {{MQTTListen: local, mqttLimits: mqttLimits{MQTTMaxQueue: -1}}},
		"mqtt-broker-session-expiry": {{MQTTMode: bus.External, MQTTBroker: outside, MQTTBrokerSessionExpiry: -1}},
	} {
		for i, flags := range all {
			n, log := &node{name: "edge-1"}, slog.New(slog.DiscardHandler)
			access, err := flags.access(n, nil, nil, nil, log)
			if err == nil {
				_, _, err = flags.bus(n, access, log)
			}
			if usage, ok := errors.AsType[*program.UsageError](err); !ok || usage.Setting != setting {
				t.Errorf("%s, case %d: %v", setting, i, err)
			}
		}
	}
}

// TestMQTTPassword connects to a broker that asks for a password.
func TestMQTTPassword(t *testing.T) {
	outside, err := broker.New(broker.Config{Address: "tcp://127.0.0.1:0", Authenticate: broker.Passwords(map[string]string{"edge": "secret"})})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- outside.Run(ctx) }()
	<-outside.Ready()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	flags := mqttFlags{MQTTMode: bus.External, MQTTBroker: "tcp://" + outside.Addr().String(), MQTTBrokerUsername: "edge", MQTTBrokerPasswordFile: file}
	store, err := badgerstore.Open(badgerstore.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b, _, err := flags.bus(&node{name: "edge-1", store: store}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- b.Run(ctx) }()
	<-b.Ready()
	cancel()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}
