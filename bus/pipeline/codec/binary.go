package codec

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// maxPayload is the longest payload that a layout may want, in bytes.
const maxPayload = 1 << 16

// binaryDecoder decodes a fixed layout of numbers into a map. A payload may be longer than the
// layout, but not shorter.
type binaryDecoder struct {
	fields []binaryField
	size   int // that a payload must have
}

type binaryField struct {
	name string
	from int
	read func(b []byte) any
}

// binarySizes are the types with their sizes in bytes.
var binarySizes = map[string]int{
	"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8, "float32": 4, "float64": 8,
}

func newBinary(spec *v1alpha1.BinaryFormat) (*binaryDecoder, error) {
	if spec == nil || len(spec.Fields) == 0 {
		return nil, fmt.Errorf("decode.binary.fields: at least one field is required with the format binary")
	}
	var order binary.ByteOrder = binary.BigEndian
	switch spec.Endian {
	case "little":
		order = binary.LittleEndian
	case "big", "":
	default:
		return nil, fmt.Errorf("decode.binary.endian: %q is not known: use big or little", spec.Endian)
	}
	d := &binaryDecoder{}
	seen := map[string]bool{}
	for i, f := range spec.Fields {
		where := fmt.Sprintf("decode.binary.fields[%d]", i)
		size, ok := binarySizes[f.Type]
		switch {
		case !ok:
			return nil, fmt.Errorf("%s.type: %q is not known: use bool, int8 to int64, uint8 to uint64, float32 or float64", where, f.Type)
		case f.Name == "" || seen[f.Name]:
			return nil, fmt.Errorf("%s.name: %q is empty or there twice: each field needs a name of its own", where, f.Name)
		case f.Offset < 0 || int(f.Offset)+size > maxPayload:
			return nil, fmt.Errorf("%s.offset: %d is not within 0 and %d", where, f.Offset, maxPayload-size)
		case f.Bit < 0 || f.Bit > 7 || f.Bit > 0 && f.Type != "bool":
			return nil, fmt.Errorf("%s.bit: %d is not possible: 0 to 7 are, for the type bool", where, f.Bit)
		case f.Scale != "" && f.Type == "bool":
			return nil, fmt.Errorf("%s.scale: a bool has no scale: remove it", where)
		}
		seen[f.Name] = true
		read := numberReader(f.Type, order)
		if f.Type == "bool" {
			mask := byte(1) << f.Bit
			read = func(b []byte) any { return b[0]&mask != 0 }
		}
		if f.Scale != "" {
			scale, err := strconv.ParseFloat(f.Scale, 64)
			if err != nil || math.IsInf(scale, 0) || math.IsNaN(scale) {
				return nil, fmt.Errorf("%s.scale: %q is not a decimal number", where, f.Scale)
			}
			read = scaled(read, scale)
		}
		d.fields = append(d.fields, binaryField{name: f.Name, from: int(f.Offset), read: read})
		d.size = max(d.size, int(f.Offset)+size)
	}
	return d, nil
}

// numberReader reads a number at the beginning of b.
func numberReader(kind string, order binary.ByteOrder) func(b []byte) any {
	switch kind {
	case "int8":
		return func(b []byte) any { return int64(int8(b[0])) }
	case "uint8":
		return func(b []byte) any { return int64(b[0]) }
	case "int16":
		return func(b []byte) any { return int64(int16(order.Uint16(b))) }
	case "uint16":
		return func(b []byte) any { return int64(order.Uint16(b)) }
	case "int32":
		return func(b []byte) any { return int64(int32(order.Uint32(b))) }
	case "uint32":
		return func(b []byte) any { return int64(order.Uint32(b)) }
	case "int64":
		return func(b []byte) any { return int64(order.Uint64(b)) }
	case "uint64":
		return func(b []byte) any { return whole(order.Uint64(b)) }
	case "float32":
		return func(b []byte) any { return float64(math.Float32frombits(order.Uint32(b))) }
	}
	return func(b []byte) any { return math.Float64frombits(order.Uint64(b)) }
}

// whole is n as an int64 where that is large enough.
func whole(n uint64) any {
	if n <= math.MaxInt64 {
		return int64(n)
	}
	return n
}

// scaled multiplies what read returns. A scale such as 0.1 divides by 10: 3 becomes 0.3 and
// not 0.30000000000000004.
func scaled(read func([]byte) any, scale float64) func([]byte) any {
	inverse := math.Round(1 / scale)
	divide := inverse != 0 && math.Abs(inverse) <= 1<<53 && 1/inverse == scale
	return func(b []byte) any {
		var f float64
		switch v := read(b).(type) {
		case int64:
			f = float64(v)
		case uint64:
			f = float64(v)
		case float64:
			f = v
		}
		if divide {
			return f / inverse
		}
		return f * scale
	}
}

// Decode implements pipeline.Decoder.
func (d *binaryDecoder) Decode(b []byte) (any, error) {
	if len(b) < d.size {
		return nil, &SyntaxError{Format: FormatBinary, Offset: len(b), Reason: fmt.Sprintf("it has %d bytes, the layout %d", len(b), d.size)}
	}
	m := make(map[string]any, len(d.fields))
	for _, f := range d.fields {
		m[f.name] = f.read(b[f.from:])
	}
	return m, nil
}
