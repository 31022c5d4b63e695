package codec

import (
	"math"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// zero is the default of a field without presence.
func zero(f protoreflect.FieldDescriptor) any {
	switch {
	case f.IsMap():
		return map[string]any{}
	case f.IsList():
		return []any{}
	}
	switch f.Kind() {
	case protoreflect.BoolKind:
		return false
	case protoreflect.StringKind:
		return ""
	case protoreflect.BytesKind:
		return []byte{}
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return 0.0
	case protoreflect.EnumKind:
		return enumName(f, 0)
	}
	return int64(0)
}

func enumName(f protoreflect.FieldDescriptor, n protoreflect.EnumNumber) any {
	if v := f.Enum().Values().ByNumber(n); v != nil {
		return string(v.Name())
	}
	return int64(n)
}

func wireType(k protoreflect.Kind) protowire.Type {
	switch k {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind:
		return protowire.BytesType
	}
	return protowire.VarintType
}

// scalar reads a value that is no message. A value of another wire type is skipped, as an
// unknown field is.
func (p *protoParser) scalar(f protoreflect.FieldDescriptor, kind protowire.Type, b []byte) (v any, ok bool, err error) {
	if kind != wireType(f.Kind()) {
		return nil, false, nil
	}
	switch kind {
	case protowire.Fixed32Type:
		n, _ := protowire.ConsumeFixed32(b)
		switch f.Kind() {
		case protoreflect.FloatKind:
			v = float64(math.Float32frombits(n))
		case protoreflect.Sfixed32Kind:
			v = int64(int32(n))
		default:
			v = int64(n)
		}
	case protowire.Fixed64Type:
		n, _ := protowire.ConsumeFixed64(b)
		switch f.Kind() {
		case protoreflect.DoubleKind:
			v = math.Float64frombits(n)
		case protoreflect.Sfixed64Kind:
			v = int64(n)
		default:
			v = whole(n)
		}
	case protowire.BytesType:
		text, _ := protowire.ConsumeBytes(b)
		if err := p.spend(costList + textCost(len(text))); err != nil {
			return nil, false, err
		}
		if f.Kind() == protoreflect.BytesKind {
			return append([]byte{}, text...), true, nil
		}
		if !utf8.Valid(text) {
			return nil, false, p.wrong(b, f, "a text is not UTF-8")
		}
		return string(text), true, nil
	default:
		n, _ := protowire.ConsumeVarint(b)
		v = varint(f, n)
	}
	return v, true, p.spend(costBox)
}

func varint(f protoreflect.FieldDescriptor, n uint64) any {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return n != 0
	case protoreflect.EnumKind:
		return enumName(f, protoreflect.EnumNumber(int32(n)))
	case protoreflect.Int32Kind:
		return int64(int32(n))
	case protoreflect.Uint32Kind:
		return int64(uint32(n))
	case protoreflect.Sint32Kind:
		return int64(int32(protowire.DecodeZigZag(n & math.MaxUint32)))
	case protoreflect.Sint64Kind:
		return protowire.DecodeZigZag(n)
	case protoreflect.Uint64Kind:
		return whole(n)
	}
	return int64(n)
}

// wellKnown converts messages that have a meaning of their own; nil for others.
func wellKnown(name protoreflect.FullName) func(m map[string]any) (any, error) {
	switch name {
	case "google.protobuf.Timestamp":
		return func(m map[string]any) (any, error) {
			s, _ := m["seconds"].(int64)
			ns, _ := m["nanos"].(int64)
			if s < -62135596800 || s > maxUnix || ns < 0 || ns > 999999999 {
				return nil, &SyntaxError{Format: FormatProtobuf, Reason: "a google.protobuf.Timestamp is not within the years 1 to 9999"}
			}
			return time.Unix(s, ns).UTC().Format(time.RFC3339Nano), nil
		}
	case "google.protobuf.Duration":
		return func(m map[string]any) (any, error) {
			s, _ := m["seconds"].(int64)
			ns, _ := m["nanos"].(int64)
			if s > math.MaxInt64/int64(time.Second)-1 || s < math.MinInt64/int64(time.Second)+1 || ns < -999999999 || ns > 999999999 {
				return nil, &SyntaxError{Format: FormatProtobuf, Reason: "a google.protobuf.Duration is longer than 292 years"}
			}
			return (time.Duration(s)*time.Second + time.Duration(ns)).String(), nil
		}
	case "google.protobuf.DoubleValue", "google.protobuf.FloatValue", "google.protobuf.Int64Value", "google.protobuf.UInt64Value", "google.protobuf.Int32Value",
		"google.protobuf.UInt32Value", "google.protobuf.BoolValue", "google.protobuf.StringValue", "google.protobuf.BytesValue":
		return func(m map[string]any) (any, error) { return m["value"], nil }
	}
	return nil
}
