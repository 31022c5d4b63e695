package device

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// rawSize is the number of bytes of a raw type; 0 if it is not known.
func rawSize(t schema.RawType) int {
	switch t {
	case schema.RawInt8, schema.RawUint8:
		return 1
	case schema.RawInt16, schema.RawUint16:
		return 2
	case schema.RawInt32, schema.RawUint32, schema.RawFloat32:
		return 4
	case schema.RawInt64, schema.RawUint64, schema.RawFloat64:
		return 8
	}
	return 0
}

func isFloat(t schema.RawType) bool { return t == schema.RawFloat32 || t == schema.RawFloat64 }

func isSigned(t schema.RawType) bool { return strings.HasPrefix(string(t), "INT") }

// Size is how many bytes Encode returns; 0 if it depends on the value, or if neither
// transform.rawType nor the limit of a visitor says it.
func (t *Transform) Size() int {
	if t.raw != "" {
		return rawSize(t.raw)
	}
	return t.size
}

// bytesScale is the scale that counts for bytes.
func (t *Transform) bytesScale() *big.Rat {
	if t.scale != nil {
		return t.scale
	}
	return t.visitor
}

// Decode returns the value for the bytes that the device has, which come in the order that the
// model declares. It does not keep or change raw.
func (t *Transform) Decode(raw []byte) (string, error) {
	if len(raw) == 0 {
		return "", errors.New("the device gave no bytes")
	}
	raw, err := t.order(raw)
	if err != nil {
		return "", err
	}
	if t.raw == "" {
		switch t.typ {
		case schema.TypeBytes:
			return base64.StdEncoding.EncodeToString(raw), nil
		case schema.TypeString, schema.TypeStream, "":
			if t.values == nil {
				text := strings.TrimRight(string(raw), "\x00")
				if !utf8.ValidString(text) {
					return "", fmt.Errorf("the device gave %d bytes that are not UTF-8", len(raw))
				}
				return text, nil
			}
		}
	}
	kind, err := t.kind(len(raw))
	if err != nil {
		return "", err
	}
	n, err := number(kind, raw)
	if err != nil {
		return "", err
	}
	return t.decode(n, t.bytesScale())
}

// kind is the raw type of so many bytes.
func (t *Transform) kind(length int) (schema.RawType, error) {
	if t.raw != "" {
		if rawSize(t.raw) != length {
			return "", fmt.Errorf("the device gave %d bytes, a %s has %d", length, t.raw, rawSize(t.raw))
		}
		return t.raw, nil
	}
	if t.typ == schema.TypeFloat || t.typ == schema.TypeDouble {
		switch length {
		case 4:
			return schema.RawFloat32, nil
		case 8:
			return schema.RawFloat64, nil
		}
	}
	switch length {
	case 1:
		return schema.RawInt8, nil
	case 2:
		return schema.RawInt16, nil
	case 4:
		return schema.RawInt32, nil
	case 8:
		return schema.RawInt64, nil
	}
	return "", fmt.Errorf("the device gave %d bytes: a number has 1, 2, 4 or 8", length)
}

// number reads bytes, the most significant first, as a number.
func number(kind schema.RawType, raw []byte) (*big.Rat, error) {
	bits := asUint64(raw)
	switch kind {
	case schema.RawFloat32:
		// The shortest decimal of the 32 bits: what people see on the device.
		return finite(float64(math.Float32frombits(uint32(bits))), 32)
	case schema.RawFloat64:
		return finite(math.Float64frombits(bits), 64)
	case schema.RawUint8, schema.RawUint16, schema.RawUint32, schema.RawUint64:
		return new(big.Rat).SetInt(new(big.Int).SetUint64(bits)), nil
	}
	unused := 64 - 8*uint(len(raw))
	return new(big.Rat).SetInt64(int64(bits<<unused) >> unused), nil
}

// order puts bytes in the declared order into that of most significant first, and back: it is
// its own inverse.
func (t *Transform) order(raw []byte) ([]byte, error) {
	if !t.swap && !t.words || len(raw) == 1 {
		return raw, nil
	}
	if len(raw)%2 != 0 {
		return nil, fmt.Errorf("the device gave %d bytes: byteOrder and wordOrder need words of 2 bytes", len(raw))
	}
	out := make([]byte, len(raw))
	for i := 0; i < len(raw); i += 2 {
		to := i
		if t.words {
			to = len(raw) - 2 - i
		}
		out[to], out[to+1] = raw[i], raw[i+1]
		if t.swap {
			out[to], out[to+1] = raw[i+1], raw[i]
		}
	}
	return out, nil
}

// Encode returns the bytes to write for a value, in the order that the model declares. current
// are the bytes that the device has now; they count if there is a mask. A value that the device
// cannot hold is an error; a number between two that it can hold becomes the nearest.
func (t *Transform) Encode(value string, current []byte) ([]byte, error) {
	raw, err := t.encodeBytes(value, current)
	if err != nil {
		return nil, err
	}
	return t.order(raw)
}

func (t *Transform) encodeBytes(value string, current []byte) ([]byte, error) {
	if t.raw == "" {
		switch t.typ {
		case schema.TypeBytes:
			return base64.StdEncoding.DecodeString(value)
		case schema.TypeString, schema.TypeStream, "":
			if t.raws == nil {
				return t.padded(value)
			}
		}
	}
	n, err := t.encode(value, t.bytesScale())
	if err != nil {
		return nil, err
	}
	size := t.Size()
	if size == 0 {
		return nil, errors.New("transform.rawType is required to write this property: nothing says how many bytes it has")
	}
	kind, err := t.kind(size)
	if err != nil {
		return nil, err
	}
	whole := *t
	whole.raw = kind
	if isFloat(kind) {
		f, err := whole.float(n)
		if err != nil {
			return nil, err
		}
		if kind == schema.RawFloat32 {
			return binary.BigEndian.AppendUint32(nil, math.Float32bits(float32(f))), nil
		}
		return binary.BigEndian.AppendUint64(nil, math.Float64bits(f)), nil
	}
	n = round(n)
	if t.mask != 0 || t.shift != 0 {
		var old uint64
		if t.mask != 0 {
			if old, err = t.bits(current, size); err != nil {
				return nil, err
			}
		}
		bits, err := t.merge(n, old)
		if err != nil {
			return nil, err
		}
		n = whole.fromBits(bits)
	}
	if err := whole.checkRange(n); err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint64(nil, asBits(n.Num()))[8-size:], nil
}

// bits reads what the device has now.
func (t *Transform) bits(current []byte, size int) (uint64, error) {
	if len(current) != size {
		return 0, fmt.Errorf("the device has %d bytes, want %d: the bits outside of transform.mask cannot be kept", len(current), size)
	}
	ordered, err := t.order(current)
	if err != nil {
		return 0, err
	}
	return asUint64(ordered), nil
}

// asUint64 reads up to 8 bytes, the most significant first.
func asUint64(raw []byte) uint64 {
	var wide [8]byte
	copy(wide[8-len(raw):], raw)
	return binary.BigEndian.Uint64(wide[:])
}

// padded gives a text as bytes, filled with zeros up to the size.
func (t *Transform) padded(value string) ([]byte, error) {
	if t.size == 0 {
		return []byte(value), nil
	}
	if len(value) > t.size {
		return nil, fmt.Errorf("value has %d bytes, the device holds %d", len(value), t.size)
	}
	out := make([]byte, t.size)
	copy(out, value)
	return out, nil
}

// checkRange says why an integer does not fit into the raw type.
func (t *Transform) checkRange(n *big.Rat) error {
	bits := 8 * uint(rawSize(t.raw))
	low, high := new(big.Int), new(big.Int).Lsh(big.NewInt(1), bits)
	if isSigned(t.raw) {
		high.Rsh(high, 1)
		low.Neg(high)
	}
	if !n.IsInt() {
		return fmt.Errorf("raw value %s is no integer, as %s needs", decimal(n), t.raw)
	}
	if n.Num().Cmp(low) < 0 || n.Num().Cmp(high) >= 0 {
		return fmt.Errorf("raw value %s is not in the range of %s", decimal(n), t.raw)
	}
	return nil
}

// finite gives a float as the number that its shortest decimal shows.
func finite(f float64, bits int) (*big.Rat, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("the device gave %v: it is not a finite number", f)
	}
	n, ok := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, bits)) // the shortest that reads back as f
	if !ok {
		return nil, fmt.Errorf("the device gave %v: it is not a decimal number", f)
	}
	return n, nil
}
