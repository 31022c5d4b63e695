package wire

import (
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// The parts of frames: fields, and messages that several kinds of frames contain.

// field is one field of a message: u for a varint, b for bytes.
type field struct {
	num protowire.Number
	typ protowire.Type
	u   uint64
	b   []byte
}

func (v field) duration() time.Duration {
	const most = uint64(math.MaxInt64 / int64(time.Millisecond))
	return time.Duration(min(v.u, most)) * time.Millisecond
}

// size reads a limit. More than 31 bits is as good as no limit.
func (v field) size() int { return int(min(v.u, math.MaxInt32)) }

// eachField walks the fields of a message. Types that hub does not use are
// skipped, as are fields that do not match the type a reader wants.
func eachField(b []byte, yield func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return message.Violation("broken tag")
		}
		b = b[n:]
		v := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			v.u, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			v.b, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return message.Violation("broken field %d", num)
		}
		b = b[n:]
		if err := yield(v); err != nil {
			return err
		}
	}
	return nil
}

func parseUint(b []byte) (uint64, error) {
	var u uint64
	err := eachField(b, func(v field) error {
		if v.num == 1 {
			u = v.u
		}
		return nil
	})
	return u, err
}

func parseKey(k *message.Key, v field) bool {
	switch v.num {
	case 1:
		k.Resource = string(v.b)
	case 2:
		k.Namespace = string(v.b)
	case 3:
		k.Name = string(v.b)
	default:
		return false
	}
	return true
}

func (d *decoder) parseMessage(m *message.Message, b []byte) error {
	err := eachField(b, func(v field) (err error) {
		if parseKey(&m.Key, v) {
			return nil
		}
		switch v.num {
		case 4:
			m.Version = string(v.b)
		case 5:
			m.Operation = message.Operation(min(v.u, math.MaxUint8))
		case 6:
			m.ID = v.u
		case 7:
			err = ParseError(&m.Error, v.b)
		case 8:
			m.Body = d.body(v.b)
		}
		return err
	})
	if err == nil && !m.Operation.Valid() {
		return message.Violation("message with operation %d", m.Operation)
	}
	return err
}

// ParseError reads an error into *e, which it allocates if it is nil. A field that comes
// twice is merged, as protobuf's encoding demands.
func ParseError(e **message.Error, b []byte) error {
	if *e == nil {
		*e = &message.Error{}
	}
	return eachField(b, func(v field) error {
		switch v.num {
		case 1:
			(*e).Code = message.Code(min(v.u, math.MaxUint16))
		case 2:
			(*e).Text = string(v.b)
		case 3:
			(*e).RetryAfter = v.duration()
		}
		return nil
	})
}

func parseLimits(b []byte) (message.Limits, error) {
	var l message.Limits
	err := eachField(b, func(v field) error {
		switch v.num {
		case 1:
			l.MaxFrame = v.size()
		case 2:
			l.Window = v.size()
		case 3:
			l.WindowBytes = v.size()
		}
		return nil
	})
	return l, err
}
