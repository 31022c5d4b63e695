package bus

import (
	"fmt"
	"time"
	"unicode/utf8"
)

// QoS is MQTT's quality of service of a message.
type QoS byte

// The three qualities of service.
const (
	AtMostOnce  QoS = 0 // sent once, not acknowledged
	AtLeastOnce QoS = 1 // sent until acknowledged
	ExactlyOnce QoS = 2 // acknowledged in two steps, never duplicated
)

// Property is an MQTT 5 user property. Clients that speak MQTT 3.1.1 neither
// send nor see them.
type Property struct {
	Key, Value string
}

// Message is one MQTT application message. The receiver of a Message owns its
// Payload and Properties only until its handler returns.
type Message struct {
	Topic      string
	Payload    []byte
	QoS        QoS
	Retain     bool       // published: the broker keeps it for later subscribers; received: it was kept
	Properties []Property // in the order in which they were sent; keys may repeat

	// The following travel with MQTT 5 only; clients that speak MQTT 3.1.1 neither send nor
	// see them.
	ResponseTopic string        // where the answer to this message is expected; empty means nowhere
	Correlation   []byte        // says to which request an answer belongs; nil means none
	ContentType   string        // what the payload is, a MIME type for example; empty says nothing
	Expiry        time.Duration // after which the message is not delivered any more, in seconds; 0 means never
}

// MaxPayload is the largest payload in bytes that MQTT can carry: the packet's
// length field ends at 256 MiB, and 64 KiB of that are left for the topic.
// Brokers set far lower limits.
const MaxPayload = 256<<20 - 1 - 64<<10

// Property returns the value of the first property with the key, or "".
func (m *Message) Property(key string) string {
	for _, p := range m.Properties {
		if p.Key == key {
			return p.Value
		}
	}
	return ""
}

// Validate returns an *InvalidError if m cannot be published.
func (m *Message) Validate() error {
	if err := ValidateTopic(m.Topic); err != nil {
		return err
	}
	if m.QoS > ExactlyOnce {
		return &InvalidError{What: fmt.Sprintf("QoS %d", m.QoS), Reason: "it must be 0, 1 or 2"}
	}
	if len(m.Payload) > MaxPayload {
		return &InvalidError{What: "payload for " + m.Topic, Reason: fmt.Sprintf("%d bytes are more than MQTT's limit of %d", len(m.Payload), MaxPayload)}
	}
	if m.ResponseTopic != "" {
		if err := ValidateTopic(m.ResponseTopic); err != nil {
			return err
		}
	}
	if len(m.Correlation) > maxString || len(m.ContentType) > maxString || !utf8.ValidString(m.ContentType) || m.Expiry < 0 {
		return &InvalidError{What: "message for " + m.Topic, Reason: "Correlation and ContentType have at most 65535 bytes, ContentType is UTF-8, and Expiry is not negative"}
	}
	for _, p := range m.Properties {
		if len(p.Key) > maxString || len(p.Value) > maxString || !utf8.ValidString(p.Key) || !utf8.ValidString(p.Value) {
			return &InvalidError{What: fmt.Sprintf("user property %.40q", p.Key), Reason: "key and value must be UTF-8 of at most 65535 bytes"}
		}
	}
	return nil
}

// InvalidError says what is wrong with a topic, a filter or a message.
type InvalidError struct {
	What   string // what is invalid, quoted
	Reason string // the rule that it breaks
}

func (e *InvalidError) Error() string { return "bus: invalid " + e.What + ": " + e.Reason }
