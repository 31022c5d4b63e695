package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// mqttFlags are the settings of MQTT.
type mqttFlags struct {
	mqttLimits
	MQTTMode                bus.Mode      `help:"Which MQTT broker devices and apps use: internal (embedded in edgecore), external, or both." default:"internal" placeholder:"MODE"`
	MQTTListen              []string      `help:"Where the embedded MQTT broker listens: tcp://HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/PATH, wss://HOST:PORT/PATH, unix:///SOCKET; several are separated by commas. tcp://:1884 is all addresses of this machine, so that pods reach it at status.hostIP; there only clients that prove who they are get in. tcp://127.0.0.1:1884 is for the host alone." default:"tcp://:1884" placeholder:"URL"`
	MQTTUsersFile           string        `help:"File of the embedded broker's users and hashed passwords, as mosquitto_passwd and 'edgectl mqtt passwd' write it. It is read again when it changes." placeholder:"FILE"`
	MQTTRulesFile           string        `help:"YAML file of what users of the embedded broker may do: their roles, devices and topics. Without it users may do what clients of this machine may do without a user. It is read again when it changes." placeholder:"FILE"`
	MQTTTLSCert             string        `help:"Certificate (PEM) of the embedded broker for tls:// and wss://. It is read again when it changes." name:"mqtt-tls-cert" placeholder:"FILE"`
	MQTTTLSKey              string        `help:"Key of that certificate." name:"mqtt-tls-key" placeholder:"FILE"`
	MQTTTLSClientCA         string        `help:"Authorities (PEM) of clients of tls:// and wss://: a client with a certificate is the user that its common name says. It is read again when it changes. Empty: none is asked for." name:"mqtt-tls-client-ca" placeholder:"FILE"`
	MQTTAnonymous           bool          `help:"Let clients without a user in on loopback and unix sockets: mappers and apps of this machine, and pods in the host's network. They can read and set all devices. --no-mqtt-anonymous turns it off." default:"true" negatable:"" name:"mqtt-anonymous"`
	MQTTPods                bool          `help:"Let pods of this node in with the token of their service account as password. --no-mqtt-pods turns it off." default:"true" negatable:"" name:"mqtt-pods"`
	MQTTAllowAnonymous      bool          `help:"Let the embedded broker serve clients on other machines without a user too. They can read and set all devices." name:"mqtt-allow-remote-anonymous"`
	MQTTBroker              string        `help:"The external MQTT broker: tcp://HOST:PORT or tls://HOST:PORT." default:"tcp://127.0.0.1:1883" placeholder:"URL"`
	MQTTBrokerClientID      string        `help:"Client identifier at the external broker. Default: edgecore-NODE." name:"mqtt-broker-client-id" placeholder:"NAME"`
	MQTTBrokerUsername      string        `help:"User name at the external broker." placeholder:"NAME"`
	MQTTBrokerPasswordFile  string        `help:"File with the password at the external broker; a line break at its end does not count." placeholder:"FILE"`
	MQTTBrokerCA            string        `help:"Authorities (PEM) of an external broker with tls://. Default: the system's." name:"mqtt-broker-ca" placeholder:"FILE"`
	MQTTBrokerCert          string        `help:"Client certificate (PEM) for an external broker with tls://." placeholder:"FILE"`
	MQTTBrokerKey           string        `help:"Key of that certificate." placeholder:"FILE"`
	MQTTBridgeOut           []string      `help:"With --mqtt-mode both: MQTT filters of what clients of the embedded broker publish that goes to the external one too, for example plant/#. What edgecore publishes goes to both anyway." name:"mqtt-bridge-out" placeholder:"FILTER,..."`
	MQTTBridgeIn            []string      `help:"With --mqtt-mode both: MQTT filters of what comes from the external broker to clients of the embedded one. None may begin with $, or overlap another." name:"mqtt-bridge-in" placeholder:"FILTER,..."`
	MQTTBrokerSessionExpiry time.Duration `help:"How long the external broker keeps the messages for edgecore while edgecore is away. 0: not at all." default:"24h" placeholder:"TIME"`
}

// bus makes the Bus with its brokers. users is nil without the embedded one; internal is then
// the outbox for the external one.
func (r *mqttFlags) bus(n *node, users *access.Access, log *slog.Logger) (b *bus.Bus, internal *broker.Broker, err error) {
	cfg := bus.Config{Mode: r.MQTTMode, Logger: component(log, "bus")}
	if users != nil {
		if internal, err = r.internal(n, users, component(log, "broker")); err != nil {
			return nil, nil, err
		}
		cfg.Internal = internal
	}
	if r.MQTTMode != bus.Internal {
		outside, err := r.external(n, log)
		if err != nil {
			return nil, nil, err
		}
		n.outside.Store(outside)
		cfg.External = outside
	}
	if r.MQTTMode == bus.External {
		if internal, err = r.outbox(n, component(log, "broker")); err != nil {
			return nil, nil, err
		}
		cfg.Outbox = internal
	}
	if cfg.Bridge, err = r.bridge(); err != nil {
		return nil, nil, err
	}
	b, err = bus.New(cfg)
	return b, internal, err
}

// outbox keeps what is for the external broker in the node's store until that has it: a broker
// that listens nowhere.
func (r *mqttFlags) outbox(n *node, log *slog.Logger) (*broker.Broker, error) {
	cfg := broker.Config{NoListen: true, Storage: metastore.New(n.store, "mqtt/"), Logger: log}
	if err := r.apply(&cfg); err != nil {
		return nil, err
	}
	return broker.New(cfg)
}

// bridge checks the filters of the bridge.
func (r *mqttFlags) bridge() (bus.Bridge, error) {
	bridge := bus.Bridge{Out: r.MQTTBridgeOut, In: r.MQTTBridgeIn}
	for setting, one := range map[string]bus.Bridge{"mqtt-bridge-out": {Out: bridge.Out}, "mqtt-bridge-in": {In: bridge.In}} {
		if err := one.Validate(); err != nil {
			return bridge, &program.UsageError{Setting: setting, Reason: err.Error()}
		}
		if r.MQTTMode != bus.Both && len(one.In)+len(one.Out) > 0 {
			return bridge, &program.UsageError{Setting: setting, Reason: fmt.Sprintf("mqtt-mode is %s, and messages pass between two brokers: use mqtt-mode both, or leave it out", r.MQTTMode)}
		}
	}
	return bridge, nil
}

// internal makes the embedded broker. What must survive a restart is in the node's store.
func (r *mqttFlags) internal(n *node, users *access.Access, log *slog.Logger) (*broker.Broker, error) {
	bad := func(reason string) error { return &program.UsageError{Setting: "mqtt-listen", Reason: reason} }
	if len(r.MQTTListen) == 0 {
		return nil, bad("it is empty: give an address, for example tcp://127.0.0.1:1884, or use --mqtt-mode external")
	}
	for _, address := range r.MQTTListen {
		u, err := url.Parse(address)
		if err != nil {
			return nil, bad(fmt.Sprintf("%.100q is no address: use tcp://HOST:PORT", address))
		}
		encrypted := u.Scheme == "tls" || u.Scheme == "wss"
		if encrypted && r.MQTTTLSCert == "" {
			return nil, bad(address + " needs a certificate: set mqtt-tls-cert and mqtt-tls-key")
		}
		ip := net.ParseIP(u.Hostname())
		if u.Scheme == "unix" || u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()) {
			continue
		}
		switch {
		case !users.Authenticates():
			return nil, bad("other machines reach " + address + ", and no client could prove who it is: use tcp://127.0.0.1:1884, or set mqtt-pods, mqtt-users-file or mqtt-tls-client-ca, or mqtt-allow-remote-anonymous to let everyone in")
		case r.MQTTAllowAnonymous:
			log.Warn("every machine that reaches the MQTT broker can read and set all devices (mqtt-allow-remote-anonymous)", "address", address)
		case !encrypted && r.MQTTUsersFile != "":
			log.Warn("passwords of MQTT users travel unencrypted at this address: let other machines use tls://", "address", address)
		}
	}
	cfg := broker.Config{
		Address: r.MQTTListen[0], Listen: r.MQTTListen[1:], Access: users, TLS: users.TLS(), AllowRemoteAnonymous: r.MQTTAllowAnonymous,
		Storage: metastore.New(n.store, "mqtt/"), Logger: log,
	}
	if err := r.apply(&cfg); err != nil {
		return nil, err
	}
	if err := listenForPipelines(&cfg, n, users); err != nil {
		return nil, err
	}
	b, err := broker.New(cfg)
	if err != nil {
		return nil, bad(err.Error())
	}
	return b, nil
}

// external makes the client of the external broker.
func (r *mqttFlags) external(n *node, log *slog.Logger) (*client.Client, error) {
	cfg := client.Config{
		URL: r.MQTTBroker, ClientID: r.MQTTBrokerClientID, Username: r.MQTTBrokerUsername, SessionExpiry: r.MQTTBrokerSessionExpiry,
		NoLocal: r.MQTTMode == bus.Both, Logger: component(log, "bus"),
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "edgecore-" + n.name
	}
	// Another broker, and another session there, has packet identifiers of its own.
	session := sha256.Sum256([]byte(cfg.URL + "\n" + cfg.ClientID))
	cfg.Received = metastore.NewReceived(n.store, fmt.Sprintf("mqtt-received/%x/", session[:8]))
	if r.MQTTBrokerPasswordFile != "" {
		password, err := os.ReadFile(r.MQTTBrokerPasswordFile)
		if err != nil {
			return nil, &program.UsageError{Setting: "mqtt-broker-password-file", Reason: err.Error()}
		}
		cfg.Password = bytes.TrimRight(password, "\r\n")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if err := loadPair(config, "mqtt-broker-cert", r.MQTTBrokerCert, r.MQTTBrokerKey); err != nil {
		return nil, err
	}
	if r.MQTTBrokerCA != "" {
		pool, err := loadPool("mqtt-broker-ca", r.MQTTBrokerCA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = pool
	}
	cfg.TLS = config
	if r.MQTTBrokerSessionExpiry < 0 {
		return nil, &program.UsageError{Setting: "mqtt-broker-session-expiry", Reason: "it must not be negative"}
	}
	c, err := client.New(cfg)
	if err != nil {
		return nil, &program.UsageError{Setting: "mqtt-broker", Reason: err.Error() + " (of edgecore: --mqtt-broker-username, --mqtt-broker-password-file)"}
	}
	return c, nil
}

// loadPair adds a certificate and its key, if they are set, to config. setting is the
// certificate's.
func loadPair(config *tls.Config, setting, cert, key string) error {
	if cert == "" && key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return &program.UsageError{Setting: setting, Reason: fmt.Sprintf("certificate and key cannot be read: %v", err)}
	}
	config.Certificates = []tls.Certificate{pair}
	return nil
}

// loadPool reads certificates of authorities.
func loadPool(setting, file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	pool := x509.NewCertPool()
	if err == nil && !pool.AppendCertsFromPEM(pem) {
		err = errors.New(file + " has no certificate (PEM)")
	}
	if err != nil {
		return nil, &program.UsageError{Setting: setting, Reason: err.Error()}
	}
	return pool, nil
}
