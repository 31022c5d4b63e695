package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/broker"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/metastore"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// mqttFlags are the settings of MQTT.
type mqttFlags struct {
	MQTTMode                bus.Mode      `help:"Which MQTT broker devices and apps use: internal (embedded in edgecore), external, or both." default:"internal" placeholder:"MODE"`
	MQTTListen              []string      `help:"Where the embedded MQTT broker listens: tcp://HOST:PORT, tls://HOST:PORT, ws://HOST:PORT/PATH, wss://HOST:PORT/PATH, unix:///SOCKET; several are separated by commas." default:"tcp://127.0.0.1:1884" placeholder:"URL"`
	MQTTTLSCert             string        `help:"Certificate (PEM) of the embedded broker for tls:// and wss://." name:"mqtt-tls-cert" placeholder:"FILE"`
	MQTTTLSKey              string        `help:"Key of that certificate." name:"mqtt-tls-key" placeholder:"FILE"`
	MQTTTLSClientCA         string        `help:"Authorities (PEM) whose certificates clients of tls:// and wss:// must show. Empty: none is asked for." name:"mqtt-tls-client-ca" placeholder:"FILE"`
	MQTTAllowAnonymous      bool          `help:"Let the embedded broker serve clients on other machines without authentication." name:"mqtt-allow-remote-anonymous"`
	MQTTBroker              string        `help:"The external MQTT broker: tcp://HOST:PORT or tls://HOST:PORT." default:"tcp://127.0.0.1:1883" placeholder:"URL"`
	MQTTBrokerClientID      string        `help:"Client identifier at the external broker. Default: edgecore-NODE." name:"mqtt-broker-client-id" placeholder:"NAME"`
	MQTTBrokerUsername      string        `help:"User name at the external broker." placeholder:"NAME"`
	MQTTBrokerPasswordFile  string        `help:"File with the password at the external broker; a line break at its end does not count." placeholder:"FILE"`
	MQTTBrokerCA            string        `help:"Authorities (PEM) of an external broker with tls://. Default: the system's." name:"mqtt-broker-ca" placeholder:"FILE"`
	MQTTBrokerCert          string        `help:"Client certificate (PEM) for an external broker with tls://." placeholder:"FILE"`
	MQTTBrokerKey           string        `help:"Key of that certificate." placeholder:"FILE"`
	MQTTBrokerSessionExpiry time.Duration `help:"How long the external broker keeps the messages for edgecore while edgecore is away. 0: not at all." default:"24h" placeholder:"TIME"`
}

// bus makes the Bus with its brokers. broker is nil without the embedded one.
func (r *mqttFlags) bus(n *node, log *slog.Logger) (b *bus.Bus, internal *broker.Broker, err error) {
	cfg := bus.Config{Mode: r.MQTTMode, Logger: component(log, "bus")}
	if r.MQTTMode != bus.External {
		if internal, err = r.internal(n, log); err != nil {
			return nil, nil, err
		}
		cfg.Internal = internal
	}
	if r.MQTTMode != bus.Internal {
		if cfg.External, err = r.external(n.name, log); err != nil {
			return nil, nil, err
		}
	}
	b, err = bus.New(cfg)
	return b, internal, err
}

// internal makes the embedded broker. What must survive a restart is in the node's store.
func (r *mqttFlags) internal(n *node, log *slog.Logger) (*broker.Broker, error) {
	if len(r.MQTTListen) == 0 {
		return nil, &program.UsageError{Setting: "mqtt-listen", Reason: "it is empty: give an address, or use --mqtt-mode external"}
	}
	config, err := r.serverTLS()
	if err != nil {
		return nil, err
	}
	b, err := broker.New(broker.Config{
		Address: r.MQTTListen[0], Listen: r.MQTTListen[1:], TLS: config, AllowRemoteAnonymous: r.MQTTAllowAnonymous,
		Storage: metastore.New(n.store, "mqtt/"), Logger: component(log, "broker"),
	})
	if err != nil {
		return nil, &program.UsageError{Setting: "mqtt-listen", Reason: err.Error() + " (of edgecore: --mqtt-tls-cert, --mqtt-tls-client-ca, --mqtt-allow-remote-anonymous)"}
	}
	return b, nil
}

// serverTLS reads the embedded broker's certificate; nil if there is none.
func (r *mqttFlags) serverTLS() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if err := loadPair(config, "mqtt-tls-cert", r.MQTTTLSCert, r.MQTTTLSKey); err != nil {
		return nil, err
	}
	if r.MQTTTLSClientCA != "" {
		pool, err := loadPool("mqtt-tls-client-ca", r.MQTTTLSClientCA)
		if err != nil {
			return nil, err
		}
		config.ClientCAs, config.ClientAuth = pool, tls.RequireAndVerifyClientCert
	}
	if len(config.Certificates) == 0 {
		if r.MQTTTLSClientCA != "" {
			return nil, &program.UsageError{Setting: "mqtt-tls-client-ca", Reason: "it needs mqtt-tls-cert and mqtt-tls-key"}
		}
		return nil, nil
	}
	return config, nil
}

// external makes the client of the external broker.
func (r *mqttFlags) external(node string, log *slog.Logger) (*client.Client, error) {
	cfg := client.Config{
		URL: r.MQTTBroker, ClientID: r.MQTTBrokerClientID, Username: r.MQTTBrokerUsername, SessionExpiry: r.MQTTBrokerSessionExpiry,
		NoLocal: r.MQTTMode == bus.Both, Logger: component(log, "bus"),
	}
	if cfg.ClientID == "" {
		cfg.ClientID = "edgecore-" + node
	}
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
