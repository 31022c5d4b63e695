package wire

import (
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of a Message.
const (
	MaxPayload = 3 << 20   // bytes; a message of the link has at most 4 MiB
	maxText    = 1<<16 - 1 // bytes of a topic or another text, as MQTT has it
)

// Message is one message on its way between MQTT or HTTP on a node and the cloud. The zero
// value of a field says nothing.
type Message struct {
	Topic       string        // the real topic; "" for an HTTP request
	Payload     []byte        // any bytes
	ContentType string        // of the payload
	Time        time.Time     // when the node received it, by the node's clock; milliseconds
	TTL         time.Duration // how long it is still of use, for messages to a node; milliseconds
	Method      string        // of an HTTP request
	Path        string        // of an HTTP request: what follows the target's URL, with its query
}

// The fields of an encoded Message. Numbers are not used again.
const (
	fieldTopic = iota + 1
	fieldPayload
	fieldContentType
	fieldTime
	fieldTTL
	fieldMethod
	fieldPath
)

// Encode returns m as bytes.
func (m *Message) Encode() []byte {
	b := make([]byte, 0, len(m.Payload)+len(m.Topic)+len(m.ContentType)+len(m.Method)+len(m.Path)+48)
	text := func(field protowire.Number, s string) {
		if s != "" {
			b = protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
		}
	}
	number := func(field protowire.Number, v int64) {
		if v > 0 {
			b = protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(v))
		}
	}
	text(fieldTopic, m.Topic)
	text(fieldContentType, m.ContentType)
	text(fieldMethod, m.Method)
	text(fieldPath, m.Path)
	if !m.Time.IsZero() {
		number(fieldTime, m.Time.UnixMilli())
	}
	number(fieldTTL, m.TTL.Milliseconds())
	if len(m.Payload) > 0 {
		b = protowire.AppendBytes(protowire.AppendTag(b, fieldPayload, protowire.BytesType), m.Payload)
	}
	return b
}

// errMessage is why bytes are no Message.
var errMessage = errors.New("rules/wire: no message")

// DecodeMessage reads what Encode wrote. Payload is a part of b. Unknown fields, of a newer
// release, are skipped.
func DecodeMessage(b []byte) (Message, error) {
	var m Message
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return Message{}, fmt.Errorf("%w: %w", errMessage, protowire.ParseError(n))
		}
		b = b[n:]
		n, err := m.set(field, kind, b)
		if err != nil {
			return Message{}, err
		}
		if n < 0 {
			return Message{}, fmt.Errorf("%w: %w", errMessage, protowire.ParseError(n))
		}
		b = b[n:]
	}
	return m, nil
}

// set reads the value of one field from the beginning of b and returns its length.
func (m *Message) set(field protowire.Number, kind protowire.Type, b []byte) (int, error) {
	switch {
	case kind == protowire.VarintType && (field == fieldTime || field == fieldTTL):
		v, n := protowire.ConsumeVarint(b)
		switch {
		case n < 0:
		case v > 1<<53:
			return 0, fmt.Errorf("%w: a time of %d ms", errMessage, v)
		case field == fieldTime:
			m.Time = time.UnixMilli(int64(v))
		default:
			m.TTL = time.Duration(min(v, uint64(maxTTL/time.Millisecond))) * time.Millisecond
		}
		return n, nil
	case kind != protowire.BytesType || field > fieldPath:
		return protowire.ConsumeFieldValue(field, kind, b), nil
	}
	v, n := protowire.ConsumeBytes(b)
	if n < 0 {
		return n, nil
	}
	if field == fieldPayload {
		if len(v) > MaxPayload {
			return 0, fmt.Errorf("%w: a payload of %d bytes is over %d", errMessage, len(v), MaxPayload)
		}
		m.Payload = v
		return n, nil
	}
	if len(v) > maxText || !utf8.Valid(v) {
		return 0, fmt.Errorf("%w: a text of %d bytes is too long or not UTF-8", errMessage, len(v))
	}
	switch field {
	case fieldTopic:
		m.Topic = string(v)
	case fieldContentType:
		m.ContentType = string(v)
	case fieldMethod:
		m.Method = string(v)
	case fieldPath:
		m.Path = string(v)
	}
	return n, nil
}

// maxTTL bounds a time that a message waits.
const maxTTL = 10 * 365 * 24 * time.Hour
