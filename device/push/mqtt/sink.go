package mqtt

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/google/uuid"

	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Open is the push.Opener of push.MethodMQTT. The secrets are "username" and "password".
func Open(target schema.PushMethod, secret push.Secret) (push.Sink, error) {
	m := target.MQTT
	switch {
	case m.Topic == "" || strings.ContainsAny(m.Topic, "+#\x00"):
		return nil, fmt.Errorf("device/push/mqtt: pushMethod.mqtt.topic %.100q is no topic: use one without wildcards", m.Topic)
	case m.QoS < 0 || m.QoS > 2:
		return nil, fmt.Errorf("device/push/mqtt: pushMethod.mqtt.qos is %d: use 0, 1 or 2", m.QoS)
	case m.Address == "":
		return nil, errors.New("device/push/mqtt: pushMethod.mqtt.address is empty: use tcp://HOST:1883 or tls://HOST:8883")
	}
	u, err := url.Parse(m.Address)
	if err != nil || u.Host == "" || !slices.Contains([]string{"tcp", "mqtt", "tls", "ssl", "mqtts"}, u.Scheme) {
		return nil, fmt.Errorf("device/push/mqtt: pushMethod.mqtt.address %.100q is no broker: use tcp://HOST:1883 or tls://HOST:8883", m.Address)
	}
	s := &sink{topic: m.Topic, qos: byte(m.QoS), retain: m.Retained, cfg: autopaho.ClientConfig{ //nolint:gosec // checked above
		ServerUrls: []*url.URL{u}, TlsCfg: &tls.Config{MinVersion: tls.VersionTLS12}, KeepAlive: 30, ConnectTimeout: 10 * time.Second,
		CleanStartOnInitialConnection: true, ReconnectBackoff: autopaho.NewConstantBackoff(time.Second),
		ConnectUsername: secret(push.MethodMQTT, "username"),
		ClientConfig:    paho.ClientConfig{ClientID: "edgekit-push-" + uuid.NewString()},
	}}
	if s.cfg.ConnectUsername != "" {
		s.cfg.ConnectPassword = []byte(secret(push.MethodMQTT, "password"))
	}
	return s, nil
}

// sink publishes readings. It is connected from the first Write to Close.
type sink struct {
	cfg    autopaho.ClientConfig
	topic  string
	qos    byte
	retain bool

	conn *autopaho.ConnectionManager // nil before the first Write
	stop context.CancelFunc
}

// Write returns when the broker has confirmed the readings, or with QoS 0 when they are sent.
func (s *sink) Write(ctx context.Context, readings []push.Reading) (int, error) {
	if s.conn == nil {
		own, stop := context.WithCancel(context.WithoutCancel(ctx)) // until Close
		conn, err := autopaho.NewConnection(own, s.cfg)
		if err != nil {
			stop()
			return 0, fmt.Errorf("device/push/mqtt: %w", err)
		}
		s.conn, s.stop = conn, stop
	}
	if err := s.conn.AwaitConnection(ctx); err != nil {
		return 0, fmt.Errorf("device/push/mqtt: broker is not connected: %w", err)
	}
	for i, r := range readings {
		payload, err := json.Marshal(r)
		if err == nil {
			_, err = s.conn.Publish(ctx, &paho.Publish{Topic: s.topic, Payload: payload, QoS: s.qos, Retain: s.retain})
		}
		if err != nil {
			return i, fmt.Errorf("device/push/mqtt: %w", err)
		}
	}
	return len(readings), nil
}

// Close disconnects.
func (s *sink) Close() error {
	if s.conn != nil {
		s.stop()
		<-s.conn.Done()
	}
	return nil
}
