package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/client"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// Settings of MQTT sessions.
const (
	sessionExpiry  = 24 * time.Hour // the longest that the embedded broker keeps one
	receiveMaximum = 1024           // messages that one source has and has not acknowledged
)

// broker is the node's MQTT broker: a client for what is published, and one for each source.
type broker struct {
	mqtt    wire.MQTT
	tls     *tls.Config
	publish *client.Client
	log     *slog.Logger
}

var _ pipeline.Broker = (*broker)(nil)

func newBroker(m wire.MQTT, log *slog.Logger) (*broker, error) {
	b := &broker{mqtt: m, log: log.With("component", "mqtt")}
	if strings.HasPrefix(m.URL, "tls:") {
		b.tls = &tls.Config{MinVersion: tls.VersionTLS12}
		if m.CA != "" {
			pem, err := os.ReadFile(m.CA)
			if err != nil {
				return nil, err
			}
			b.tls.RootCAs = x509.NewCertPool()
			if !b.tls.RootCAs.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s has no certificate (PEM)", m.CA)
			}
		}
		if m.Cert != "" {
			pair, err := tls.LoadX509KeyPair(m.Cert, m.Key)
			if err != nil {
				return nil, err
			}
			b.tls.Certificates = []tls.Certificate{pair}
		}
	}
	var err error
	b.publish, err = client.New(b.config(m.Session + "publish"))
	return b, err
}

func (b *broker) config(id string) client.Config {
	return client.Config{URL: b.mqtt.URL, TLS: b.tls, ClientID: id, Username: b.mqtt.Username, Password: b.mqtt.Password, Logger: b.log}
}

// Reason codes with which a broker says that it will never take a message (MQTT 5.0, 3.4.2.1).
const (
	topicNameInvalid     = 0x90
	payloadFormatInvalid = 0x99
)

// Publish returns nil when the broker has the message.
func (b *broker) Publish(ctx context.Context, m bus.Message) error {
	err := b.publish.PublishWait(ctx, m)
	if refused, ok := errors.AsType[*client.RefusedError](err); ok && (refused.Code == topicNameInvalid || refused.Code == payloadFormatInvalid) {
		return fmt.Errorf("%w: %w", pipeline.ErrRefused, err)
	}
	return err
}

// Consume has a session of its own at the broker, which keeps messages of QoS 1 while edgepipe is
// away or its queues block.
func (b *broker) Consume(ctx context.Context, name string, sub pipeline.Subscription, handle func(ctx context.Context, m bus.Message, ack func()) error) error {
	cfg := b.config(wire.SessionID(b.mqtt.Session, name, sub.Filter))
	cfg.ReceiveMaximum = receiveMaximum
	if sub.QoS > 0 {
		cfg.SessionExpiry = sessionExpiry
	}
	c, err := client.New(cfg)
	if err != nil {
		return err
	}
	return c.Consume(ctx, sub.Filter, sub.QoS, handle)
}

// scopedBroker is the broker for the Pipelines of a namespace: of edgecore's own topics they have
// those of their namespace's devices.
type scopedBroker struct {
	pipeline.Broker
	namespace string
}

const (
	ownTopics    = "$hw/"
	deviceTopics = "$hw/events/device/"
)

// allowed reports whether a topic or filter is for the namespace.
func (b scopedBroker) allowed(topic string) error {
	if shared, ok := strings.CutPrefix(topic, "$share/"); ok {
		_, topic, _ = strings.Cut(shared, "/")
	}
	if !strings.HasPrefix(topic, "$") || strings.HasPrefix(topic, deviceTopics+b.namespace+"/") {
		return nil
	}
	if strings.HasPrefix(topic, ownTopics) {
		return fmt.Errorf("topic %.100q: of %s a Pipeline has %s%s/#, the devices of its namespace", topic, ownTopics, deviceTopics, b.namespace)
	}
	return fmt.Errorf("topic %.100q: topics that begin with $ are not for Pipelines", topic)
}

// Publish refuses topics of others.
func (b scopedBroker) Publish(ctx context.Context, m bus.Message) error {
	if err := b.allowed(m.Topic); err != nil {
		return fmt.Errorf("%w: %w", pipeline.ErrRefused, err)
	}
	return b.Broker.Publish(ctx, m)
}

// Consume refuses filters of others.
func (b scopedBroker) Consume(ctx context.Context, name string, sub pipeline.Subscription, handle func(ctx context.Context, m bus.Message, ack func()) error) error {
	if err := b.allowed(sub.Filter); err != nil {
		return err
	}
	return b.Broker.Consume(ctx, name, sub, handle)
}

// errNoBroker is for a node whose settings of MQTT cannot be used.
var errNoBroker = errors.New("the node's MQTT broker cannot be used")
