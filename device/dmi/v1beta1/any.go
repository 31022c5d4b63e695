package v1beta1

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// typePrefix begins the type of an Any.
const typePrefix = "type.googleapis.com/google.protobuf."

// maxDepth is how deep lists and objects may be nested in an Any.
const maxDepth = 32

// AnyOf makes the Any of a JSON value, which mappers of KubeEdge understand:
//
//	string          StringValue
//	true, false     BoolValue
//	integer         Int64Value, if it has 64 bits
//	other number    FloatValue; see below
//	null, [], {}    Value
//
// Mappers of KubeEdge know FloatValue and not DoubleValue. A number that 32 bits cannot hold is
// sent as a FloatValue with a second field: field 2 has the number with 64 bits. Who does not
// know that field skips it.
func AnyOf(raw json.RawMessage) (*Any, error) {
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return nil, errors.New("device/dmi: value is empty: want JSON")
	}
	switch text[0] {
	case '"':
		var s string
		if err := jsonlimit.Unmarshal(raw, &s); err != nil {
			return nil, fmt.Errorf("device/dmi: %w", err)
		}
		return &Any{TypeURL: typePrefix + "StringValue", Value: appendBytes(nil, 1, []byte(s), false)}, nil
	case 't', 'f':
		var b []byte
		if text == "true" {
			b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 1)
		}
		return &Any{TypeURL: typePrefix + "BoolValue", Value: b}, nil
	case '{', '[', 'n':
		var v any
		if err := jsonlimit.Unmarshal(raw, &v); err != nil {
			return nil, fmt.Errorf("device/dmi: %w", err)
		}
		return &Any{TypeURL: typePrefix + "Value", Value: appendValue(nil, v)}, nil
	}
	return numberOf(text)
}

func numberOf(text string) (*Any, error) {
	if i, err := strconv.ParseInt(text, 10, 64); err == nil {
		var b []byte
		if i != 0 {
			b = protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), uint64(i)) //nolint:gosec // two's complement is the wire form
		}
		return &Any{TypeURL: typePrefix + "Int64Value", Value: b}, nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("device/dmi: %.40q is not a number of 64 bits", text)
	}
	narrow := float32(f)
	b := protowire.AppendFixed32(protowire.AppendTag(nil, 1, protowire.Fixed32Type), math.Float32bits(narrow))
	if again, err := strconv.ParseFloat(strconv.FormatFloat(float64(narrow), 'g', -1, 32), 64); err != nil || again != f {
		b = protowire.AppendFixed64(protowire.AppendTag(b, 2, protowire.Fixed64Type), math.Float64bits(f))
	}
	return &Any{TypeURL: typePrefix + "FloatValue", Value: b}, nil
}

// appendValue appends a google.protobuf.Value.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return protowire.AppendVarint(protowire.AppendTag(b, 4, protowire.VarintType), protowire.EncodeBool(v))
	case float64:
		return protowire.AppendFixed64(protowire.AppendTag(b, 2, protowire.Fixed64Type), math.Float64bits(v))
	case string:
		return appendBytes(b, 3, []byte(v), true)
	case []any:
		var list []byte
		for _, element := range v {
			list = appendBytes(list, 1, appendValue(nil, element), true)
		}
		return appendBytes(b, 6, list, true)
	case map[string]any:
		var object []byte
		for _, key := range slices.Sorted(maps.Keys(v)) {
			entry := appendBytes(nil, 1, []byte(key), false)
			entry = appendBytes(entry, 2, appendValue(nil, v[key]), true)
			object = appendBytes(object, 1, entry, true)
		}
		return appendBytes(b, 5, object, true)
	}
	return protowire.AppendVarint(protowire.AppendTag(b, 1, protowire.VarintType), 0) // null
}

// ToJSON returns the value of an Any as JSON: of the types that AnyOf makes, and of the other
// wrappers, Struct and ListValue. The error names a type that it does not know.
func ToJSON(a *Any) (json.RawMessage, error) { return appendAny(make([]byte, 0, a.room()), a) }

// room is how much JSON a usually gives at most.
func (a *Any) room() int {
	if a == nil {
		return len("null")
	}
	return 4*len(a.Value) + 16
}

func appendAny(out []byte, a *Any) ([]byte, error) {
	if a == nil {
		return append(out, "null"...), nil
	}
	name := a.TypeURL[strings.LastIndexByte(a.TypeURL, '/')+1:]
	short, ok := strings.CutPrefix(name, "google.protobuf.")
	if !ok {
		return nil, fmt.Errorf("device/dmi: type %.80q of a value is not known: use one of google.protobuf", a.TypeURL)
	}
	switch short {
	case "Value":
		return appendJSON(out, a.Value, maxDepth)
	case "Struct":
		return appendObject(out, a.Value, maxDepth)
	case "ListValue":
		return appendList(out, a.Value, maxDepth)
	}
	return appendWrapped(out, short, a.Value)
}

// scalar is what a wrapper may hold.
type scalar struct {
	integer uint64
	single  float32
	double  float64
	exact   bool // double is field 2 of a FloatValue
	text    []byte
}

func (s *scalar) read(n protowire.Number, typ protowire.Type, v []byte) error {
	switch {
	case n == 1 && typ == protowire.VarintType:
		s.integer, _ = protowire.ConsumeVarint(v)
	case n == 1 && typ == protowire.BytesType:
		s.text, _ = protowire.ConsumeBytes(v)
	case n == 1 && typ == protowire.Fixed32Type:
		x, _ := protowire.ConsumeFixed32(v)
		s.single = math.Float32frombits(x)
	case (n == 1 || n == 2) && typ == protowire.Fixed64Type:
		x, _ := protowire.ConsumeFixed64(v)
		s.double, s.exact = math.Float64frombits(x), n == 2
	}
	return nil
}

// appendWrapped appends the JSON of a wrapper.
func appendWrapped(out []byte, short string, b []byte) ([]byte, error) {
	var s scalar
	if err := fields(b, s.read); err != nil {
		return nil, err
	}
	switch short {
	case "StringValue":
		return appendText(out, s.text)
	case "BytesValue":
		return append(base64.StdEncoding.AppendEncode(append(out, '"'), s.text), '"'), nil
	case "BoolValue":
		return strconv.AppendBool(out, s.integer != 0), nil
	case "Int32Value", "Int64Value":
		return strconv.AppendInt(out, int64(s.integer), 10), nil //nolint:gosec // two's complement is the wire form
	case "UInt32Value", "UInt64Value":
		return strconv.AppendUint(out, s.integer, 10), nil
	case "FloatValue":
		if s.exact {
			return appendNumber(out, s.double, 64)
		}
		return appendNumber(out, float64(s.single), 32)
	case "DoubleValue":
		return appendNumber(out, s.double, 64)
	}
	return nil, fmt.Errorf("device/dmi: type google.protobuf.%.40s of a value is not known: use a wrapper, Value, Struct or ListValue", short)
}

// fields calls fn with each field of a message. v is the whole value with its length.
func fields(b []byte, fn func(n protowire.Number, typ protowire.Type, v []byte) error) error {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("device/dmi: value: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if size = protowire.ConsumeFieldValue(n, typ, b); size < 0 {
			return fmt.Errorf("device/dmi: value: %w", protowire.ParseError(size))
		}
		if err := fn(n, typ, b[:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// appendText appends a JSON string.
func appendText(out, text []byte) ([]byte, error) {
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("device/dmi: text %.40q is not UTF-8", text)
	}
	out = append(out, '"')
	for _, c := range text {
		switch {
		case c < ' ':
			out = append(out, '\\', 'u', '0', '0', '0'+c>>4, "0123456789abcdef"[c&15])
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		default:
			out = append(out, c)
		}
	}
	return append(out, '"'), nil
}

func appendNumber(out []byte, f float64, bits int) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("device/dmi: %v has no form in JSON", f)
	}
	return strconv.AppendFloat(out, f, 'g', -1, bits), nil
}

// appendJSON appends the JSON of a google.protobuf.Value. Of several values the last counts.
func appendJSON(out, b []byte, depth int) ([]byte, error) {
	if depth == 0 {
		return nil, fmt.Errorf("device/dmi: value is nested deeper than %d", maxDepth)
	}
	var number protowire.Number
	var content []byte
	err := fields(b, func(n protowire.Number, typ protowire.Type, v []byte) error {
		switch {
		case (n == 1 || n == 4) && typ == protowire.VarintType,
			n == 2 && typ == protowire.Fixed64Type,
			(n == 3 || n == 5 || n == 6) && typ == protowire.BytesType:
			number, content = n, v
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	inner := content
	if number == 3 || number >= 5 {
		inner, _ = protowire.ConsumeBytes(content)
	}
	switch number {
	case 2:
		x, _ := protowire.ConsumeFixed64(content)
		return appendNumber(out, math.Float64frombits(x), 64)
	case 3:
		return appendText(out, inner)
	case 4:
		x, _ := protowire.ConsumeVarint(content)
		return strconv.AppendBool(out, x != 0), nil
	case 5:
		return appendObject(out, inner, depth-1)
	case 6:
		return appendList(out, inner, depth-1)
	}
	return append(out, "null"...), nil
}

func appendList(out, b []byte, depth int) ([]byte, error) {
	out, err := appendElements(append(out, '['), b, func(out, element []byte) ([]byte, error) {
		return appendJSON(out, element, depth)
	})
	return append(out, ']'), err
}

func appendObject(out, b []byte, depth int) ([]byte, error) {
	out, err := appendElements(append(out, '{'), b, func(out, entry []byte) ([]byte, error) {
		var key, value []byte
		err := fields(entry, func(n protowire.Number, typ protowire.Type, v []byte) error {
			content, _ := protowire.ConsumeBytes(v)
			switch {
			case n == 1 && typ == protowire.BytesType:
				key = content
			case n == 2 && typ == protowire.BytesType:
				value = content
			}
			return nil
		})
		if err != nil {
			return out, err
		}
		if out, err = appendText(out, key); err != nil {
			return out, err
		}
		return appendJSON(append(out, ':'), value, depth)
	})
	return append(out, '}'), err
}

// appendElements appends each field 1 of b, which is a list or an object, with commas between.
func appendElements(out, b []byte, element func(out, b []byte) ([]byte, error)) ([]byte, error) {
	first := true
	err := fields(b, func(n protowire.Number, typ protowire.Type, v []byte) (err error) {
		if n != 1 || typ != protowire.BytesType {
			return nil
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		content, _ := protowire.ConsumeBytes(v)
		out, err = element(out, content)
		return err
	})
	return out, err
}

// CustomizedOf returns the free object of a Device in the form that mappers read. It is never
// nil, nor is its Data: mappers of KubeEdge read both unseen.
func CustomizedOf(o schema.Options) (*CustomizedValue, error) {
	c := &CustomizedValue{Data: map[string]*Any{}}
	var values map[string]json.RawMessage
	if err := o.Decode(&values); err != nil {
		return nil, err
	}
	for key, raw := range values {
		a, err := AnyOf(raw)
		if err != nil {
			return nil, fmt.Errorf("%w at key %.80q", err, key)
		}
		c.Data[key] = a
	}
	return c, nil
}

// options returns the object as a Device has it; nil if it is empty.
func options(c *CustomizedValue) (schema.Options, error) {
	if c == nil || len(c.Data) == 0 {
		return nil, nil
	}
	room := 2
	for key, value := range c.Data {
		room += len(key) + 4 + value.room()
	}
	out := make([]byte, 0, room)
	separator := byte('{')
	for _, key := range slices.Sorted(maps.Keys(c.Data)) {
		var err error
		if out, err = appendText(append(out, separator), []byte(key)); err != nil {
			return nil, err
		}
		if out, err = appendAny(append(out, ':'), c.Data[key]); err != nil {
			return nil, fmt.Errorf("%w at key %.80q", err, key)
		}
		separator = ','
	}
	return append(out, '}'), nil
}
