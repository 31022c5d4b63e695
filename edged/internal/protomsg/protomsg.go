// Package protomsg writes and reads messages of protobuf by hand, for services of which
// a node needs a few messages: a generated package costs each node hundreds of kibibytes,
// used or not.
//
//	var m protomsg.Message
//	m.Text(1, "v1beta1")
//	err := protomsg.EachField(data, func(f protomsg.Field) error { ... })
//
// [Codec] gives grpc messages that are bytes already.
package protomsg

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// Message is a message that is being written. Fields with their zero value are left out,
// as in proto3. The zero value is the empty message.
type Message []byte

// Text appends a string, unless it is empty.
func (m *Message) Text(number protowire.Number, s string) {
	if s != "" {
		m.Item(number, s)
	}
}

// Item appends a string of a list, also an empty one.
func (m *Message) Item(number protowire.Number, s string) {
	*m = protowire.AppendString(protowire.AppendTag(*m, number, protowire.BytesType), s)
}

// Number appends a number, unless it is zero.
func (m *Message) Number(number protowire.Number, n int64) {
	if n != 0 {
		*m = protowire.AppendVarint(protowire.AppendTag(*m, number, protowire.VarintType), uint64(n)) //nolint:gosec // int64 on the wire
	}
}

// Bool appends a bool, unless it is false.
func (m *Message) Bool(number protowire.Number, b bool) {
	if b {
		m.Number(number, 1)
	}
}

// Part appends a message, also an empty one.
func (m *Message) Part(number protowire.Number, part Message) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, number, protowire.BytesType), part)
}

// Packed appends a list of numbers in the packed form, unless it is empty.
func (m *Message) Packed(number protowire.Number, list []int64) {
	if len(list) == 0 {
		return
	}
	var packed []byte
	for _, n := range list {
		packed = protowire.AppendVarint(packed, uint64(n)) //nolint:gosec // int64 on the wire
	}
	m.Part(number, packed)
}

// Pairs appends a map of strings, in the order of its keys.
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
	Bytes  []byte // of a string or a message; part of what is read
	Value  int64  // of a number
}

// ErrWire is the error for bytes that are no message.
var ErrWire = errors.New("no message of protobuf")

// EachField calls read for each field that is a string, a message or a number. Other
// fields are left out. It allocates nothing.
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

// Codec is grpc's codec for messages that are bytes: what is sent is a Message, what is
// received a *Message.
type Codec struct{}

// Name is the content subtype, which is that of any protobuf.
func (Codec) Name() string { return "proto" }

// Marshal gives the bytes of a Message or a *Message.
func (Codec) Marshal(v any) ([]byte, error) {
	switch m := v.(type) {
	case Message:
		return m, nil
	case *Message:
		return *m, nil
	}
	return nil, fmt.Errorf("%T is no message", v)
}

// Unmarshal copies bytes into a *Message.
func (Codec) Unmarshal(data []byte, v any) error {
	m, ok := v.(*Message)
	if !ok {
		return fmt.Errorf("%T is no message", v)
	}
	*m = slices.Clone(data)
	return nil
}
