package pluginrpc

import (
	"errors"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Message is a protobuf message. Fields with their zero value are left out, as in proto3.
type Message []byte

// Text adds a string.
func (m *Message) Text(number protowire.Number, s string) {
	if s != "" {
		*m = protowire.AppendString(protowire.AppendTag(*m, number, protowire.BytesType), s)
	}
}

// Number adds an int64 or an enum.
func (m *Message) Number(number protowire.Number, n int64) {
	if n != 0 {
		*m = protowire.AppendVarint(protowire.AppendTag(*m, number, protowire.VarintType), uint64(n)) //nolint:gosec // int64 on the wire
	}
}

// Bool adds a bool.
func (m *Message) Bool(number protowire.Number, b bool) {
	if b {
		m.Number(number, 1)
	}
}

// Part adds a message, also an empty one.
func (m *Message) Part(number protowire.Number, part Message) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, number, protowire.BytesType), part)
}

// Pairs adds a map, in the order of its keys.
func (m *Message) Pairs(number protowire.Number, pairs map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		var entry Message
		entry.Text(1, key)
		entry.Text(2, pairs[key])
		m.Part(number, entry)
	}
}

// Field is one field of a message that is read.
type Field struct {
	Number protowire.Number
	Bytes  []byte // of a string or a message; part of what was given to EachField
	Value  int64  // of a number
}

// ErrWire says that bytes are no message of protobuf.
var ErrWire = errors.New("the answer is no message of protobuf")

// EachField calls read for each field of a message, but for those of other types than
// strings, messages and integers. It stops at an error and returns it.
func EachField(data []byte, read func(Field) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return ErrWire
		}
		data = data[n:]
		f := Field{Number: number}
		switch kind {
		case protowire.BytesType:
			f.Bytes, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			var v uint64
			v, n = protowire.ConsumeVarint(data)
			f.Value = int64(v) //nolint:gosec // int64 on the wire
		default:
			n = protowire.ConsumeFieldValue(number, kind, data)
			f.Number = 0
		}
		if n < 0 {
			return ErrWire
		}
		data = data[n:]
		if f.Number != 0 {
			if err := read(f); err != nil {
				return err
			}
		}
	}
	return nil
}
