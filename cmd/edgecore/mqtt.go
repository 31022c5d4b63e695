package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// mqttFlags are the settings of MQTT.
type mqttFlags struct {
	MQTTMode       bus.Mode `help:"Which MQTT broker devices and apps use: internal (embedded in edgecore), external, or both." default:"internal" placeholder:"MODE"`
	MQTTListen     []string `help:"Where the embedded MQTT broker listens: tcp://HOST:PORT, tls://, ws://, wss:// (with a path) and unix:///PATH. tcp://:1884 is all addresses of this machine, so that pods reach it at status.hostIP; there only clients that prove who they are get in. tcp://127.0.0.1:1884 is for the host alone." default:"tcp://:1884" placeholder:"URL,..."`
	MQTTUsersFile  string   `help:"File of the embedded broker's users and hashed passwords, as mosquitto_passwd and 'edgectl mqtt passwd' write it. It is read again when it changes." placeholder:"FILE"`
	MQTTRulesFile  string   `help:"YAML file of what users of the embedded broker may do: their roles, devices and topics. Without it users may do what clients of this machine may do without a user. It is read again when it changes." placeholder:"FILE"`
	MQTTTLSCert    string   `help:"Certificate (PEM) of the embedded broker for tls:// and wss://. It is read again when it changes." name:"mqtt-tls-cert" placeholder:"FILE"`
	MQTTTLSKey     string   `help:"Key (PEM) of --mqtt-tls-cert." name:"mqtt-tls-key" placeholder:"FILE"`
	MQTTClientCA   string   `help:"Authorities (PEM) of client certificates: a client that has one is the user that its common name says. It is read again when it changes." name:"mqtt-client-ca" placeholder:"FILE"`
	MQTTAnonymous  bool     `help:"Let clients without a user in on loopback and unix sockets: mappers and apps of this machine, and pods in the host's network. They can read and set all devices. --no-mqtt-anonymous turns it off." default:"true" negatable:"" name:"mqtt-anonymous"`
	MQTTPods       bool     `help:"Let pods of this node in with the token of their service account as password. --no-mqtt-pods turns it off." default:"true" negatable:"" name:"mqtt-pods"`
	MQTTInsecure   bool     `help:"Let clients of every machine in without a user. They can read and set all devices." name:"mqtt-insecure"`
	MQTTBroker     string   `help:"The external MQTT broker: tcp://HOST:PORT or tls://." default:"tcp://127.0.0.1:1883" placeholder:"URL"`
	MQTTUser       string   `help:"User name at the external broker." name:"mqtt-broker-user" placeholder:"NAME"`
	MQTTPassword   string   `help:"File with the password at the external broker." name:"mqtt-broker-password-file" placeholder:"FILE"`
	MQTTBrokerCA   string   `help:"Authorities (PEM) of the external broker's certificate. Default: the system's." name:"mqtt-broker-ca" placeholder:"FILE"`
	MQTTBrokerCert string   `help:"Client certificate (PEM) for the external broker. It is read for each connection." name:"mqtt-broker-cert" placeholder:"FILE"`
	MQTTBrokerKey  string   `help:"Key (PEM) of --mqtt-broker-cert." name:"mqtt-broker-key" placeholder:"FILE"`
}

// bus makes the bus with its brokers. access is nil if the mode is external.
func (r *runCmd) bus(n *node, access *mqttAccess, log *slog.Logger) (*bus.Bus, error) {
	cfg := bus.Config{Mode: r.MQTTMode, Logger: component(log, "bus")}
	if access != nil {
		internal, err := r.broker(access, metastore.New(n.store, "mqtt/"), component(log, "broker"))
		if err != nil {
			return nil, err
		}
		cfg.Internal = internal
	}
	if r.MQTTMode != bus.Internal {
		outside, err := r.outside()
		if err != nil {
			return nil, err
		}
		outside.ClientID, outside.Logger = "edgecore-"+n.name, component(log, "bus")
		external, err := client.New(outside)
		if err != nil {
			return nil, &program.UsageError{Setting: "mqtt-broker", Reason: err.Error()}
		}
		cfg.External = external
	}
	return bus.New(cfg)
}

// broker makes the embedded broker.
func (r *runCmd) broker(access *mqttAccess, storage broker.Storage, log *slog.Logger) (*broker.Broker, error) {
	bad := func(reason string) error { return &program.UsageError{Setting: "mqtt-listen", Reason: reason} }
	if len(r.MQTTListen) == 0 {
		return nil, bad("it is empty: name one address, for example tcp://127.0.0.1:1884")
	}
	for _, address := range r.MQTTListen {
		u, err := url.Parse(address)
		if err != nil {
			return nil, bad(fmt.Sprintf("%.100q is no address: use tcp://HOST:PORT", address))
		}
		encrypted := u.Scheme == "tls" || u.Scheme == "wss"
		if encrypted && r.MQTTTLSCert == "" {
			return nil, bad(fmt.Sprintf("%s needs a certificate: set mqtt-tls-cert and mqtt-tls-key", address))
		}
		ip := net.ParseIP(u.Hostname())
		if u.Scheme == "unix" || u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()) {
			continue
		}
		if !access.Authenticates() {
			return nil, bad(fmt.Sprintf("other machines reach %s, and no client could prove who it is: use tcp://127.0.0.1:1884, or set mqtt-pods, mqtt-users-file or mqtt-client-ca, or mqtt-insecure to let everyone in", address))
		}
		if r.MQTTInsecure {
			log.Warn("every machine that reaches the MQTT broker can read and set all devices (mqtt-insecure)", "address", address)
		} else if !encrypted && r.MQTTUsersFile != "" {
			log.Warn("passwords of MQTT users travel unencrypted at this address: let other machines use tls://", "address", address)
		}
	}
	b, err := broker.New(broker.Config{
		Address: r.MQTTListen[0], Listen: r.MQTTListen[1:], Access: access, TLS: access.TLS(), AllowRemoteAnonymous: r.MQTTInsecure,
		Storage: storage, Logger: log,
	})
	if err != nil {
		return nil, bad(err.Error())
	}
	return b, nil
}

// outside are the settings of the connection to the external broker.
func (r *runCmd) outside() (client.Config, error) {
	cfg := client.Config{URL: r.MQTTBroker, Username: r.MQTTUser}
	if r.MQTTPassword != "" {
		if r.MQTTUser == "" {
			return cfg, &program.UsageError{Setting: "mqtt-broker-password-file", Reason: "a password needs a user: set mqtt-broker-user"}
		}
		text, err := os.ReadFile(r.MQTTPassword)
		if err != nil {
			return cfg, &program.UsageError{Setting: "mqtt-broker-password-file", Reason: err.Error() + ": name a file with the password"}
		}
		cfg.Password = []byte(strings.TrimRight(string(text), "\r\n"))
	}
	if r.MQTTBrokerCA == "" && r.MQTTBrokerCert == "" && r.MQTTBrokerKey == "" {
		return cfg, nil
	}
	if !strings.HasPrefix(r.MQTTBroker, "tls://") {
		return cfg, &program.UsageError{Setting: "mqtt-broker", Reason: "certificates are for tls://HOST:PORT: write it so, or remove mqtt-broker-ca, mqtt-broker-cert and mqtt-broker-key"}
	}
	cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if r.MQTTBrokerCA != "" {
		text, err := os.ReadFile(r.MQTTBrokerCA)
		cfg.TLS.RootCAs = x509.NewCertPool()
		if err == nil && !cfg.TLS.RootCAs.AppendCertsFromPEM(text) {
			err = errors.New(r.MQTTBrokerCA + " has no certificate in PEM form")
		}
		if err != nil {
			return cfg, &program.UsageError{Setting: "mqtt-broker-ca", Reason: err.Error() + ": name a file with the authorities of the broker's certificate"}
		}
	}
	if r.MQTTBrokerCert == "" && r.MQTTBrokerKey == "" {
		return cfg, nil
	}
	load := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(r.MQTTBrokerCert, r.MQTTBrokerKey)
		return &pair, err
	}
	if _, err := load(nil); err != nil {
		return cfg, &program.UsageError{Setting: "mqtt-broker-cert", Reason: err.Error() + ": set mqtt-broker-cert and mqtt-broker-key to a certificate and its key in PEM form"}
	}
	cfg.TLS.GetClientCertificate = load
	return cfg, nil
}
