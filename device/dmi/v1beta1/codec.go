package v1beta1

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"unicode/utf8"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// perByte and least bound what a decoder may allocate: so many bytes for each byte of the
// message, and this much more. A message of nothing but empty messages would need more.
const (
	perByte = 12
	least   = 2 << 10
)

// Codec encodes and decodes the messages of this package for gRPC. Make one with NewCodec.
type Codec struct {
	plans sync.Map // reflect.Type of a message to *plan
}

// NewCodec makes a Codec.
func NewCodec() *Codec { return new(Codec) }

// Name is "proto": the wire format is that of Protocol Buffers.
func (c *Codec) Name() string { return "proto" }

// Marshal encodes a pointer to a message.
func (c *Codec) Marshal(v any) (mem.BufferSlice, error) {
	b, err := c.Append(nil, v)
	if err != nil {
		return nil, err
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

// Unmarshal decodes into a pointer to a message, which has its zero value.
func (c *Codec) Unmarshal(data mem.BufferSlice, v any) error { return c.Decode(data.Materialize(), v) }

// Append appends the wire form of a message to b.
func (c *Codec) Append(b []byte, v any) ([]byte, error) {
	m, err := message(v)
	if err != nil {
		return nil, err
	}
	return c.appendMessage(b, m), nil
}

// Decode decodes b into a pointer to a message, which has its zero value. It keeps no part of b.
func (c *Codec) Decode(b []byte, v any) error {
	m, err := message(v)
	if err != nil {
		return err
	}
	d := decoder{codec: c, budget: perByte*len(b) + least}
	return d.message(b, m)
}

func message(v any) (reflect.Value, error) {
	m := reflect.ValueOf(v)
	if m.Kind() != reflect.Pointer || m.IsNil() || m.Elem().Kind() != reflect.Struct {
		return m, fmt.Errorf("device/dmi: %T is not a pointer to a message", v)
	}
	return m.Elem(), nil
}

// plan is what the codec knows of a type of message.
type plan struct {
	name   string
	fields []field // in the order of the struct, which is that of the numbers
}

// field is one field of a message.
type field struct {
	name     string
	number   protowire.Number
	index    int  // in the struct
	repeated bool // a slice other than of bytes, or a map
}

func (c *Codec) plan(t reflect.Type) *plan {
	if p, ok := c.plans.Load(t); ok {
		return p.(*plan)
	}
	p := &plan{name: t.Name()}
	for i := range t.NumField() {
		f := t.Field(i)
		n, err := strconv.Atoi(f.Tag.Get("pb"))
		if err != nil {
			continue
		}
		kind := f.Type.Kind()
		p.fields = append(p.fields, field{
			name: f.Name, number: protowire.Number(n), index: i,
			repeated: kind == reflect.Map || kind == reflect.Slice && f.Type.Elem().Kind() != reflect.Uint8,
		})
	}
	actual, _ := c.plans.LoadOrStore(t, p)
	return actual.(*plan)
}

// find returns the field with a number, or nil.
func (p *plan) find(n protowire.Number) *field {
	for i := range p.fields {
		if p.fields[i].number == n {
			return &p.fields[i]
		}
	}
	return nil
}

func (c *Codec) appendMessage(b []byte, m reflect.Value) []byte {
	for _, f := range c.plan(m.Type()).fields {
		b = c.appendField(b, f.number, m.Field(f.index))
	}
	return b
}

// appendField appends a field, unless it has its zero value.
func (c *Codec) appendField(b []byte, n protowire.Number, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return appendBytes(b, n, v.Bytes(), false)
		}
		for i := range v.Len() {
			b = c.appendElement(b, n, v.Index(i))
		}
		return b
	case reflect.Map:
		keys := make([]string, 0, v.Len())
		for _, key := range v.MapKeys() {
			keys = append(keys, key.String())
		}
		slices.Sort(keys)
		for _, key := range keys {
			entry := appendBytes(nil, 1, []byte(key), false)
			entry = c.appendElement(entry, 2, v.MapIndex(reflect.ValueOf(key)))
			b = appendBytes(b, n, entry, true)
		}
		return b
	}
	if v.IsZero() {
		return b
	}
	return c.appendElement(b, n, v)
}

// appendElement appends a field of one value, also the zero value.
func (c *Codec) appendElement(b []byte, n protowire.Number, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Pointer:
		var inner []byte
		if !v.IsNil() {
			inner = c.appendMessage(nil, v.Elem())
		}
		return appendBytes(b, n, inner, true)
	case reflect.String:
		return appendBytes(b, n, []byte(v.String()), true)
	case reflect.Bool:
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), protowire.EncodeBool(v.Bool()))
	default: // int32 and int64
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), uint64(v.Int())) //nolint:gosec // two's complement is the wire form
	}
}

func appendBytes(b []byte, n protowire.Number, value []byte, empty bool) []byte {
	if len(value) == 0 && !empty {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), value)
}

// decoder decodes one message with all that is in it.
type decoder struct {
	codec  *Codec
	budget int // bytes that it may still allocate
}

// spend takes n bytes from the budget.
func (d *decoder) spend(n int) error {
	if d.budget -= n; d.budget < 0 {
		return fmt.Errorf("device/dmi: message would take more than %d bytes of memory for each of its bytes: it is made of empty parts", perByte)
	}
	return nil
}

// message decodes b into the struct m.
func (d *decoder) message(b []byte, m reflect.Value) error {
	p := d.codec.plan(m.Type())
	if err := d.reserve(b, m, p); err != nil {
		return err
	}
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b) // reserve has checked it
		b = b[size:]
		size = protowire.ConsumeFieldValue(n, typ, b)
		if f := p.find(n); f != nil {
			if err := d.field(typ, b[:size], m.Field(f.index)); err != nil {
				return fmt.Errorf("%w in %s.%s", err, p.name, f.name)
			}
		}
		b = b[size:]
	}
	return nil
}

// reserve checks the fields of b and makes the slices and maps of m as large as they will be.
func (d *decoder) reserve(b []byte, m reflect.Value, p *plan) error {
	counts := [16]int{} // by number of the field; no message has as many
	any := false
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("device/dmi: %s: %w", p.name, protowire.ParseError(size))
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, typ, b); size < 0 {
			return fmt.Errorf("device/dmi: %s: field %d: %w", p.name, n, protowire.ParseError(size))
		}
		b = b[size:]
		if int(n) < len(counts) && typ == protowire.BytesType {
			counts[n]++
			any = true
		}
	}
	if !any {
		return nil
	}
	for _, f := range p.fields {
		if !f.repeated || counts[f.number] == 0 {
			continue
		}
		count := counts[f.number]
		v := m.Field(f.index)
		each, room := int(v.Type().Elem().Size()), count+v.Len()
		if v.Kind() == reflect.Map {
			// A map has room for 8, and is at most half empty; entry makes a key and a value besides.
			each, room = 3*(int(v.Type().Key().Size())+each)+16, max(room, 3)
		}
		if err := d.spend(room * each); err != nil {
			return err
		}
		switch {
		case v.Kind() == reflect.Slice:
			v.Set(reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()+count), v))
		case v.IsNil():
			v.Set(reflect.MakeMapWithSize(v.Type(), count))
		}
	}
	return nil
}

// field decodes the value of one field. b is the whole value with its length, if it has one.
func (d *decoder) field(typ protowire.Type, b []byte, v reflect.Value) error {
	switch kind := v.Kind(); {
	case kind == reflect.Bool || kind == reflect.Int32 || kind == reflect.Int64:
		if typ != protowire.VarintType {
			return fmt.Errorf("device/dmi: wire type is %d, want %d", typ, protowire.VarintType)
		}
		x, _ := protowire.ConsumeVarint(b)
		switch kind {
		case reflect.Bool:
			v.SetBool(x != 0)
		case reflect.Int32:
			v.SetInt(int64(int32(x))) //nolint:gosec // the runtime of protobuf truncates too
		default:
			v.SetInt(int64(x)) //nolint:gosec // two's complement is the wire form
		}
		return nil
	case typ != protowire.BytesType:
		return fmt.Errorf("device/dmi: wire type is %d, want %d", typ, protowire.BytesType)
	}
	content, _ := protowire.ConsumeBytes(b)
	switch {
	case v.Kind() == reflect.Map:
		return d.entry(content, v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		v.SetLen(v.Len() + 1) // reserve has made room
		return d.element(content, v.Index(v.Len()-1))
	}
	return d.element(content, v)
}

// entry decodes one entry of a map.
func (d *decoder) entry(b []byte, m reflect.Value) error {
	key, value := reflect.New(m.Type().Key()).Elem(), reflect.New(m.Type().Elem()).Elem()
	if value.Kind() == reflect.Pointer {
		value.Set(reflect.New(value.Type().Elem())) // an entry without a value has an empty one
	}
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("device/dmi: map entry: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, typ, b); size < 0 {
			return fmt.Errorf("device/dmi: map entry: %w", protowire.ParseError(size))
		}
		if content, _ := protowire.ConsumeBytes(b[:size]); typ == protowire.BytesType && n <= 2 {
			target := key
			if n == 2 {
				target = value
			}
			if err := d.element(content, target); err != nil {
				return err
			}
		}
		b = b[size:]
	}
	m.SetMapIndex(key, value)
	return nil
}

// element decodes a string, bytes or a message.
func (d *decoder) element(content []byte, v reflect.Value) error {
	switch v.Kind() {
	case reflect.String:
		if !utf8.Valid(content) {
			return fmt.Errorf("device/dmi: text %.40q is not UTF-8", content)
		}
		v.SetString(string(content))
	case reflect.Slice:
		v.SetBytes(slices.Clone(content))
	default:
		if v.IsNil() {
			if err := d.spend(int(v.Type().Elem().Size())); err != nil {
				return err
			}
			v.Set(reflect.New(v.Type().Elem()))
		}
		return d.message(content, v.Elem())
	}
	return d.spend(len(content))
}
