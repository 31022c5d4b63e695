package broker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/internal/session"
)

// Reason codes of MQTT 5 (2.4) that the broker itself uses.
const (
	codeNoSubscription = 0x11
	codeUnspecified    = 0x80
	codeMalformed      = 0x81
	codeProtocol       = 0x82
	codeVersion        = 0x84
	codeClientID       = 0x85
	codePassword       = 0x86
	codeNotAuthorized  = 0x87
	codeBusy           = 0x89
	codeShuttingDown   = 0x8b
	codeAuthMethod     = 0x8c
	codeKeepalive      = 0x8d
	codeTakenOver      = 0x8e
	codeFilter         = 0x8f
	codeTopic          = 0x90
	codeReceiveMaximum = 0x93
	codeTopicAlias     = 0x94
	codePacketTooLarge = 0x95
	codeQuota          = 0x97
)

// packetError is a fault of a client with the reason code for it.
type packetError struct {
	code   byte
	reason string
}

func (e *packetError) Error() string { return fmt.Sprintf("%s (0x%02x)", e.reason, e.code) }

func malformed(reason string) error { return &packetError{codeMalformed, reason} }

func violation(reason string) error { return &packetError{codeProtocol, reason} }

// reasonCode is the code with which a connection ends for err; 0 if the client gets none.
func reasonCode(err error) byte {
	var ours *packetError
	var theirs packets.Code
	switch {
	case errors.As(err, &ours):
		return ours.code
	case errors.As(err, &theirs):
		return theirs.Code
	}
	return 0
}

// decode reads the body of a packet other than PUBLISH and the acknowledgements with
// mochi's decoder. The result keeps nothing of body.
func decode(first byte, body []byte, version byte) (pk packets.Packet, err error) {
	pk.ProtocolVersion = version
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = len(body)
	body = bytes.Clone(body) // mochi's strings share the memory of what they are read from
	// mochi 2.7.9 reads past the end of a SUBSCRIBE that ends within a filter's options.
	defer func() {
		if p := recover(); p != nil {
			err = malformed(fmt.Sprint("packet ends too early: ", p))
		}
	}()
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectDecode(body)
	case packets.Subscribe:
		err = pk.SubscribeDecode(body)
	case packets.Unsubscribe:
		err = pk.UnsubscribeDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	case packets.Auth:
		err = pk.AuthDecode(body)
	default:
		err = violation("packet type is not for a broker")
	}
	return pk, err
}

// inPublish is a PUBLISH as it was received. All slices are borrowed.
type inPublish struct {
	topic  []byte
	pid    uint16
	alias  uint16
	expiry uint32 // seconds; 0 is none
	props  []byte // for the subscribers
	// response is the topic on which the client asks to be answered; empty for none.
	response string
	payload  []byte
	qos      byte
	dup      bool
	retain   bool
}

// decodePublish reads a PUBLISH. It is written here since every message passes it, and
// mochi's decoder makes a packet of 700 bytes each time.
func decodePublish(first byte, body []byte, version byte) (p inPublish, err error) {
	p.qos, p.dup, p.retain = first>>1&3, first&8 != 0, first&1 != 0
	if p.qos == 3 || (p.dup && p.qos == 0) {
		return p, malformed("QoS or DUP of PUBLISH is wrong") // MQTT-3.3.1-2, 3.3.1-4
	}
	if p.topic, body, err = field(body); err != nil {
		return p, err
	}
	if p.qos > 0 {
		if len(body) < 2 {
			return p, malformed("PUBLISH has no packet identifier")
		}
		p.pid, body = binary.BigEndian.Uint16(body), body[2:]
		if p.pid == 0 {
			return p, violation("packet identifier is 0") // MQTT-2.2.1-3
		}
	}
	if version == 5 {
		if body, err = p.properties(body); err != nil {
			return p, err
		}
	}
	p.payload = body
	return p, nil
}

// properties reads the properties of a PUBLISH with mochi's decoder and returns what is
// behind them.
func (p *inPublish) properties(body []byte) ([]byte, error) {
	if len(body) == 0 {
		return nil, malformed("PUBLISH has no properties")
	}
	if body[0] == 0 {
		return body[1:], nil
	}
	length, head, err := packets.DecodeLength(bytes.NewReader(body[:min(4, len(body))]))
	if err != nil || head+length > len(body) {
		return nil, malformed("properties are longer than the packet")
	}
	n := head + length
	var props packets.Properties
	if _, err := props.Decode(packets.Publish, bytes.NewBuffer(body[:n:n])); err != nil {
		return nil, fmt.Errorf("%w: %w", packets.ErrMalformedProperties, err)
	}
	switch {
	case len(props.SubscriptionIdentifier) > 0:
		return nil, violation("PUBLISH of a client has a subscription identifier") // MQTT-3.3.4-6
	case props.TopicAliasFlag && props.TopicAlias == 0:
		return nil, &packetError{codeTopicAlias, "topic alias is 0"} // MQTT-3.3.2-8
	case props.ResponseTopic != "" && bus.ValidateTopic(props.ResponseTopic) != nil:
		return nil, violation("response topic is not valid") // MQTT-3.3.2-14
	case props.PayloadFormatFlag && props.PayloadFormat > 1:
		return nil, violation("payload format is not 0 or 1")
	case props.PayloadFormat == 1 && !utf8.Valid(body[n:]):
		return nil, &packetError{0x99, "payload is not UTF-8, as its format says"}
	}
	p.alias, p.expiry, p.response = props.TopicAlias, props.MessageExpiryInterval, props.ResponseTopic
	p.props = encodeProperties(&props)
	return body[n:], nil
}

// encodeProperties writes the properties of a message that travel with it unchanged (MQTT
// 5, 3.3.2.3), in the order in which they are defined there.
func encodeProperties(p *packets.Properties) []byte {
	var b []byte
	if p.PayloadFormatFlag {
		b = append(b, packets.PropPayloadFormat, p.PayloadFormat)
	}
	if p.ContentType != "" {
		b = appendText(append(b, packets.PropContentType), p.ContentType)
	}
	if p.ResponseTopic != "" {
		b = appendText(append(b, packets.PropResponseTopic), p.ResponseTopic)
	}
	if p.CorrelationData != nil {
		b = appendText(append(b, packets.PropCorrelationData), string(p.CorrelationData))
	}
	for _, u := range p.User {
		b = appendText(appendText(append(b, packets.PropUser), u.Key), u.Val)
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// field cuts a string or binary data with its length off.
func field(b []byte) (text, rest []byte, err error) {
	if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
		return nil, nil, malformed("a field is longer than the packet")
	}
	n := 2 + int(binary.BigEndian.Uint16(b))
	return b[2:n], b[n:], nil
}

// checkTopic says why a topic from the wire is not valid.
func checkTopic(topic []byte) error {
	switch {
	case len(topic) == 0:
		return violation("topic is empty") // MQTT-4.7.3-1
	case !utf8.Valid(topic) || bytes.IndexByte(topic, 0) >= 0:
		return malformed("topic is not UTF-8 or has a zero byte") // MQTT-1.5.4-1, 1.5.4-2
	case bytes.ContainsAny(topic, "+#"):
		return &packetError{codeTopic, "topic has a wildcard"} // MQTT-3.3.2-2
	}
	return nil
}

// reserved reports whether clients may not publish to topic.
func reserved(topic string) bool {
	return strings.HasPrefix(topic, "$SYS/") || strings.HasPrefix(topic, "$share/")
}

// appendLength writes a variable byte integer.
func appendLength(b []byte, n int) []byte {
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

func lengthSize(n int) int {
	switch {
	case n < 1<<7:
		return 1
	case n < 1<<14:
		return 2
	case n < 1<<21:
		return 3
	}
	return 4
}

// outPublish is how a message goes to one client.
type outPublish struct {
	session.Entry
	pid     uint16
	dup     bool
	version byte
	alias   uint16 // MQTT 5; 0 is none
	bare    bool   // the topic is left out, since alias stands for it
	now     int64
	limit   int // the client's largest packet
}

// append writes the PUBLISH to b. It reports false and leaves b as it is if the packet is
// larger than the client takes. It is written here, since mochi's encoder copies each
// message four times and leaves out what some clients need.
func (o *outPublish) append(b []byte) ([]byte, bool) {
	m := o.Message
	topic := m.Topic
	if o.bare {
		topic = ""
	}
	size := 2 + len(topic) + len(m.Payload)
	if o.QoS > 0 {
		size += 2
	}
	props := 0
	if o.version == 5 {
		props = len(m.Props)
		if m.Expires > 0 {
			props += 5
		}
		if o.alias > 0 {
			props += 3
		}
		for _, id := range o.IDs {
			props += 1 + lengthSize(int(id))
		}
		size += lengthSize(props) + props
	}
	if 1+lengthSize(size)+size > o.limit {
		return b, false
	}
	first := packets.Publish<<4 | o.QoS<<1
	if o.dup {
		first |= 8
	}
	if o.Retain {
		first |= 1
	}
	b = appendText(appendLength(append(b, first), size), topic)
	if o.QoS > 0 {
		b = binary.BigEndian.AppendUint16(b, o.pid)
	}
	if o.version == 5 {
		b = appendLength(b, props)
		if m.Expires > 0 { // what is left of it (MQTT-3.3.2-6)
			left := max(1, (m.Expires-o.now+999)/1000)
			b = binary.BigEndian.AppendUint32(append(b, packets.PropMessageExpiryInterval), uint32(left))
		}
		if o.alias > 0 {
			b = binary.BigEndian.AppendUint16(append(b, packets.PropTopicAlias), o.alias)
		}
		for _, id := range o.IDs {
			b = appendLength(append(b, packets.PropSubscriptionIdentifier), int(id))
		}
		b = append(b, m.Props...)
	}
	return append(b, m.Payload...), true
}

// encode returns a packet of mochi's.
func encode(pk *packets.Packet) ([]byte, error) {
	var b bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackEncode(&b)
	case packets.Suback:
		err = pk.SubackEncode(&b)
	case packets.Unsuback:
		err = pk.UnsubackEncode(&b)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&b)
	}
	return b.Bytes(), err
}
