package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/examples/mappers/internal/jsonpath"
)

// connection is spec.protocol.configData of a Device. A secret in it is a secretRef in the
// Device; the SDK puts the secret's text in its place.
type connection struct {
	Broker   string // tcp://host:port or tls://host:port
	ClientID string // empty lets the broker choose one
	Username string
	Password string
	CA       string // certificates to trust, in PEM, for tls://; empty means the system's

	Topic             string // of the device's values, for example zigbee2mqtt/lamp
	CommandTopic      string // empty means Topic with /set
	GetTopic          string // a message to it asks for the values; empty asks for none
	GetPayload        string // that message
	AvailabilityTopic string // says online or offline, as text or as {"state": ...}
	MaxAge            int    // how old a value may be, in milliseconds; 0 means any age
	Confirm           int    // how long a write waits for the device's answer, in milliseconds; 0 means 1000
}

// check checks the connection and sets what it leaves out.
func (c *connection) check() error {
	u, err := url.Parse(c.Broker)
	switch {
	case err != nil:
		return fmt.Errorf("broker: %w", err)
	case u.Scheme != "tcp" && u.Scheme != "tls" || u.Port() == "":
		return fmt.Errorf("broker is %q: set tcp://host:port or tls://host:port", c.Broker)
	case c.Topic == "":
		return errors.New("topic is missing: set the topic of the device's values")
	case c.MaxAge < 0 || c.Confirm < 0:
		return errors.New("maxAge or confirm is negative: set milliseconds, or 0")
	}
	for name, topic := range map[string]string{"topic": c.Topic, "commandTopic": c.CommandTopic, "getTopic": c.GetTopic, "availabilityTopic": c.AvailabilityTopic} {
		if strings.ContainsAny(topic, "+#\x00") {
			return fmt.Errorf("%s is %q: a topic has no wildcards", name, topic)
		}
	}
	if c.CommandTopic == "" {
		c.CommandTopic = c.Topic + "/set"
	}
	if c.Confirm == 0 {
		c.Confirm = 1000
	}
	return nil
}

// address is the broker's.
func (c *connection) address() (host string, config *tls.Config, err error) {
	u, err := url.Parse(c.Broker)
	if err != nil || u.Scheme == "tcp" {
		return u.Host, nil, err
	}
	config = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			return "", nil, errors.New("protocol.configData: ca has no certificate: set certificates in PEM")
		}
	}
	return u.Host, config, nil
}

// point is visitors.configData of a property. A topic that it leaves out is the device's.
type point struct {
	Topic          string
	JSONPath       string // of the value in a message; empty means that the message is the value
	CommandTopic   string
	CommandPayload string // a template with ${value}; empty means the value at JSONPath

	typ  schema.Type
	path jsonpath.Path
}

// newPoint reads the visitor of a property.
func newPoint(dev *device.Instance, c *connection, p schema.Property) (*point, error) {
	pt := &point{Topic: c.Topic, CommandTopic: c.CommandTopic, JSONPath: p.Name, typ: schema.TypeString}
	if p.Visitors != nil {
		pt.JSONPath = ""
		if err := p.Visitors.Config.Decode(pt); err != nil {
			return nil, fmt.Errorf("property %s: visitors.configData: %w", p.Name, err)
		}
	}
	if m := dev.Model.Property(p.Name); m != nil {
		pt.typ = m.Type
	}
	if strings.ContainsAny(pt.Topic+pt.CommandTopic, "+#\x00") {
		return nil, fmt.Errorf("property %s: topic %q or commandTopic %q: a topic has no wildcards", p.Name, pt.Topic, pt.CommandTopic)
	}
	var err error
	if pt.path, err = jsonpath.Parse(pt.JSONPath); err != nil {
		return nil, fmt.Errorf("property %s: jsonPath: %w", p.Name, err)
	}
	return pt, nil
}

// value finds the property in a message.
func (p *point) value(payload []byte) (string, error) {
	v, err := jsonpath.Decode(payload)
	if err != nil {
		if p.JSONPath != "" {
			return "", err
		}
		v = strings.TrimSpace(strings.ToValidUTF8(string(payload), "\uFFFD")) // plain text
	}
	return p.path.Text(v, p.typ)
}

// command is the message that sets the property.
func (p *point) command(value string) ([]byte, error) {
	if p.CommandPayload == "" && p.JSONPath != "" {
		return p.path.Make(value, p.typ)
	}
	literal, err := jsonpath.Path{}.Make(value, p.typ)
	if err != nil {
		return nil, err
	}
	if p.CommandPayload == "" {
		return []byte(value), nil
	}
	return []byte(strings.ReplaceAll(p.CommandPayload, "${value}", string(literal))), nil
}

// online reads a message of the availability topic.
func online(payload []byte) bool {
	text := string(payload)
	if v, err := jsonpath.Decode(payload); err == nil {
		if object, ok := v.(map[string]any); ok {
			text, _ = object["state"].(string)
		}
	}
	return !strings.EqualFold(strings.Trim(text, "\" \n"), "offline")
}

// fresh reports whether a message that came then may still be used.
func (c *connection) fresh(then, now time.Time) bool {
	return c.MaxAge == 0 || now.Sub(then) <= time.Duration(c.MaxAge)*time.Millisecond
}
