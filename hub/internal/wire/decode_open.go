package wire

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/hub/internal/message"
)

// OpenHead reads the fields before the body of an open frame; b may have only the
// beginning of the frame. It reports false when b is not an open frame.
func OpenHead(b []byte) (Open, bool) {
	o := Open{Message: message.Message{Operation: message.Query}}
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != NumOpen || typ != protowire.BytesType {
		return o, false
	}
	b = b[n:]
	if _, n = protowire.ConsumeVarint(b); n < 0 {
		return o, false
	}
	within := beginning(b[n:], func(v field) {
		if v.num == 1 {
			o.Class = Class(v.u)
		}
	}, 3)
	beginning(within, func(v field) {
		if !parseKey(&o.Message.Key, v) && v.num == 6 {
			o.Message.ID = v.u
		}
	}, 8)
	return o, o.Class == ClassCall || o.Class == ClassStream
}

// beginning walks the fields of a message that may be cut off, up to the field last, and
// returns the part of that field that b has.
func beginning(b []byte, yield func(field), last protowire.Number) []byte {
	for {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		v := field{num: num, typ: typ}
		switch typ {
		case protowire.VarintType:
			v.u, n = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			if num == last {
				_, n = protowire.ConsumeVarint(b)
				return b[max(n, 0):]
			}
			v.b, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return nil
		}
		b = b[n:]
		yield(v)
	}
}
