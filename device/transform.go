package device

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"unicode/utf8"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// Transform turns what a device has into the value of one property and back, as the model's
// schema.Transform says. Decode and Encode are for bytes, DecodeText and EncodeText for drivers
// that hand over text. Arithmetic is exact: 215 times 0.1 is 21.5. Run does this for each
// property; a driver needs it only for what Run does not see. A Transform does not change.
type Transform struct {
	typ   schema.Type
	raw   schema.RawType // empty if nobody names it
	size  int            // bytes of the raw value if its type is not known; 0 if that is not known either
	swap  bool           // the bytes of each word
	words bool           // the words are to be reversed
	mask  uint64         // 0 is none
	shift uint
	scale *big.Rat // nil is 1
	// visitor is the scale of a KubeEdge visitor, for bytes; nil if the transform has a scale.
	visitor *big.Rat
	offset  *big.Rat // nil is 0
	values  map[string]string
	raws    map[string]string
}

// visitorFields are the fields of a KubeEdge visitor that say how to read bytes. Its offset and
// limit are the first register and their number: they address the value and are for the
// driver, but limit also gives its length.
type visitorFields struct {
	IsSwap         bool     `json:"isSwap"`
	IsRegisterSwap bool     `json:"isRegisterSwap"`
	Scale          *float64 `json:"scale"`
	Limit          *float64 `json:"limit"`
}

// NewTransform makes the Transform of a property. What the model's transform leaves out comes
// from the fields of the visitor that KubeEdge's mappers have: isSwap, isRegisterSwap and
// scale; scale counts for Decode and Encode only, since a driver that hands over text has
// read its visitor itself. Either argument may be nil. The error names the field.
func NewTransform(model *schema.ModelProperty, visitor *schema.Visitor) (*Transform, error) {
	t := &Transform{typ: schema.TypeString}
	var s schema.Transform
	if model != nil {
		t.typ = model.Type
		if model.Transform != nil {
			s = *model.Transform
		}
	}
	t.raw, t.swap, t.words = s.RawType, s.ByteOrder == schema.LittleEndian, s.WordOrder == schema.LittleEndian
	if t.raw != "" && rawSize(t.raw) == 0 {
		return nil, fmt.Errorf("transform.rawType: %q is not known: use INT8 to UINT64, FLOAT32 or FLOAT64", t.raw)
	}
	var err error
	if s.Mask != "" {
		if t.mask, err = strconv.ParseUint(s.Mask, 0, 64); err != nil || t.mask == 0 {
			return nil, fmt.Errorf("transform.mask: %q must be an integer of 64 bits other than 0", s.Mask)
		}
	}
	if s.Shift < 0 || s.Shift > 63 {
		return nil, fmt.Errorf("transform.shift: %d must be from 0 to 63", s.Shift)
	}
	t.shift = uint(s.Shift)
	if (t.mask != 0 || t.shift != 0) && isFloat(t.raw) {
		return nil, fmt.Errorf("transform.mask: a %s has no bits to mask or shift: name an integer in rawType", t.raw)
	}
	if t.scale, err = factor("scale", s.Scale); err != nil {
		return nil, err
	}
	if t.scale != nil && t.scale.Sign() == 0 {
		return nil, errors.New("transform.scale: 0 has no inverse: leave it out for 1")
	}
	if t.offset, err = factor("offset", s.Offset); err != nil {
		return nil, err
	}
	if err := t.setMapping(s.Mapping); err != nil {
		return nil, err
	}
	return t, t.setVisitor(visitor, s)
}

// setVisitor takes what KubeEdge's visitors say.
func (t *Transform) setVisitor(visitor *schema.Visitor, s schema.Transform) error {
	if visitor == nil {
		return nil
	}
	var v visitorFields
	if visitor.Config.Decode(&v) != nil {
		return nil // another protocol's fields of the same names: they are the driver's
	}
	if s.ByteOrder == "" {
		t.swap = v.IsSwap
	}
	if s.WordOrder == "" {
		t.words = v.IsRegisterSwap
	}
	if v.Limit != nil && *v.Limit >= 1 && *v.Limit <= 4 {
		t.size = 2 * int(*v.Limit)
	}
	if s.Scale == "" && v.Scale != nil && *v.Scale != 1 {
		scale, err := factor("scale", strconv.FormatFloat(*v.Scale, 'g', -1, 64))
		if err != nil || scale.Sign() == 0 {
			return fmt.Errorf("visitors.configData.scale: %v has no inverse: leave it out for 1", *v.Scale)
		}
		t.visitor = scale
	}
	return nil
}

// factor reads a decimal number of the spec.
func factor(field, text string) (*big.Rat, error) {
	if text == "" {
		return nil, nil
	}
	r, err := parseNumber(text)
	if err != nil {
		return nil, fmt.Errorf("transform.%s: %w", field, err)
	}
	return r, nil
}

func (t *Transform) setMapping(mapping []schema.Mapping) error {
	if len(mapping) == 0 {
		return nil
	}
	t.values, t.raws = make(map[string]string), make(map[string]string)
	for _, m := range mapping {
		raw := m.Raw
		if r, err := parseNumber(raw); err == nil {
			raw = decimal(r) // "1.0" and "1" are one
		}
		if _, ok := t.values[raw]; ok {
			return fmt.Errorf("transform.mapping: raw %q is there twice", m.Raw)
		}
		if _, ok := t.raws[m.Value]; ok {
			return fmt.Errorf("transform.mapping: value %q is there twice: a write could not be told apart", m.Value)
		}
		if err := checkType(t.typ, m.Value); err != nil {
			return fmt.Errorf("transform.mapping: %w", err)
		}
		t.values[raw], t.raws[m.Value] = m.Value, raw
	}
	return nil
}

// plain reports whether text passes as it is.
func (t *Transform) plain() bool {
	return t.raw == "" && t.mask == 0 && t.shift == 0 && t.scale == nil && t.offset == nil && t.values == nil
}

// DecodeText returns the value for a raw value that a driver hands over as text.
func (t *Transform) DecodeText(raw string) (string, error) {
	if t.plain() {
		return raw, nil
	}
	n, err := parseNumber(raw)
	if err != nil {
		if value, ok := t.values[raw]; ok { // a device may have words of its own
			return value, nil
		}
		if t.values != nil && t.mask == 0 && t.scale == nil && t.offset == nil {
			return "", fmt.Errorf("raw value %.80q is not in transform.mapping", raw)
		}
		return "", fmt.Errorf("raw value: %w", err)
	}
	if t.raw != "" && !isFloat(t.raw) {
		if err := t.checkRange(n); err != nil {
			return "", err
		}
	}
	return t.decode(n, t.scale)
}

// EncodeText returns the raw value as text. current is the one that the device has now; it
// counts if there is a mask.
func (t *Transform) EncodeText(value, current string) (string, error) {
	if t.plain() {
		return value, nil
	}
	if raw, ok := t.raws[value]; ok {
		if _, err := parseNumber(raw); err != nil {
			return raw, nil
		}
	}
	n, err := t.encode(value, t.scale)
	if err != nil {
		return "", err
	}
	if t.mask != 0 || t.shift != 0 {
		old := new(big.Rat)
		if t.mask != 0 {
			if old, err = parseNumber(current); err != nil || !old.IsInt() {
				return "", fmt.Errorf("the present raw value %.80q is no integer: its other bits cannot be kept", current)
			}
		}
		bits, err := t.merge(n, asBits(old.Num()))
		if err != nil {
			return "", err
		}
		n = t.fromBits(bits)
	}
	if t.raw != "" {
		if isFloat(t.raw) {
			f, err := t.float(n)
			return formatFloat(f), err
		}
		n = round(n)
		if err := t.checkRange(n); err != nil {
			return "", err
		}
	}
	return decimal(n), nil
}

// decode does mask, shift, scale, offset and mapping, and writes the number in the form of the
// property's type.
func (t *Transform) decode(n, scale *big.Rat) (string, error) {
	if t.mask != 0 || t.shift != 0 {
		if !n.IsInt() {
			return "", fmt.Errorf("raw value %s is no integer: transform.mask and shift need one", decimal(n))
		}
		if t.mask != 0 {
			bits := (asBits(n.Num()) & t.mask) >> t.shift
			n = new(big.Rat).SetInt(new(big.Int).SetUint64(bits))
		} else {
			n = new(big.Rat).SetInt(new(big.Int).Rsh(n.Num(), t.shift)) // keeps the sign
		}
	}
	if scale != nil {
		n = new(big.Rat).Mul(n, scale)
	}
	if t.offset != nil {
		n = new(big.Rat).Add(n, t.offset)
	}
	if t.values != nil {
		value, ok := t.values[decimal(n)]
		if !ok {
			return "", fmt.Errorf("raw value %s is not in transform.mapping", decimal(n))
		}
		return value, nil
	}
	switch t.typ {
	case schema.TypeInt:
		n = round(n)
		if !n.Num().IsInt64() {
			return "", fmt.Errorf("value %s is not in the range of INT", decimal(n))
		}
		return n.Num().String(), nil
	case schema.TypeBoolean:
		return strconv.FormatBool(n.Sign() != 0), nil
	}
	return decimal(n), nil
}

// encode is the inverse: it undoes mapping, offset and scale.
func (t *Transform) encode(value string, scale *big.Rat) (*big.Rat, error) {
	if t.raws != nil {
		raw, ok := t.raws[value]
		if !ok {
			return nil, fmt.Errorf("value %.80q is not in transform.mapping", value)
		}
		value = raw
	} else if t.typ == schema.TypeBoolean {
		switch value {
		case "true":
			value = "1"
		case "false":
			value = "0"
		default:
			return nil, fmt.Errorf("value %.80q is neither true nor false", value)
		}
	}
	n, err := parseNumber(value)
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	if t.offset != nil {
		n = new(big.Rat).Sub(n, t.offset)
	}
	if scale != nil {
		n = new(big.Rat).Quo(n, scale)
	}
	return n, nil
}

// merge puts the number into the bits that belong to the property.
func (t *Transform) merge(n *big.Rat, current uint64) (uint64, error) {
	shifted := new(big.Int).Lsh(round(n).Num(), t.shift)
	if t.mask == 0 {
		if !shifted.IsInt64() && !shifted.IsUint64() {
			return 0, fmt.Errorf("raw value %s does not fit into 64 bits", shifted)
		}
		return asBits(shifted), nil
	}
	if shifted.Sign() < 0 || !shifted.IsUint64() || shifted.Uint64()&^t.mask != 0 {
		return 0, fmt.Errorf("raw value %s does not fit into the mask %#x", shifted, t.mask)
	}
	return current&^t.mask | shifted.Uint64(), nil
}

// fromBits gives merged bits as a number: by the raw type, or unsigned if there is a mask.
func (t *Transform) fromBits(bits uint64) *big.Rat {
	n := new(big.Int)
	switch {
	case isSigned(t.raw):
		unused := 64 - 8*uint(rawSize(t.raw))
		n.SetInt64(int64(bits<<unused) >> unused)
	case t.raw == "" && t.mask == 0:
		n.SetInt64(int64(bits))
	default:
		n.SetUint64(bits)
	}
	return new(big.Rat).SetInt(n)
}

// asBits gives an integer's two's complement.
func asBits(n *big.Int) uint64 {
	if n.IsInt64() {
		return uint64(n.Int64())
	}
	return n.Uint64()
}

func (t *Transform) float(n *big.Rat) (float64, error) {
	f, _ := n.Float64()
	if t.raw == schema.RawFloat32 {
		f32, _ := n.Float32()
		f = float64(f32)
	}
	if math.IsInf(f, 0) {
		return 0, fmt.Errorf("raw value %s is not in the range of %s", n.FloatString(0), t.raw)
	}
	return f, nil
}

// round rounds to the nearest integer, halves away from zero.
func round(n *big.Rat) *big.Rat {
	if n.IsInt() {
		return n
	}
	i, _ := new(big.Int).SetString(n.FloatString(0), 10) // of digits
	return new(big.Rat).SetInt(i)
}

// decimal writes a number: an integer exactly, another with the digits of 64 bits.
func decimal(n *big.Rat) string {
	if n.IsInt() && n.Num().BitLen() <= 64 {
		return n.Num().String()
	}
	f, _ := n.Float64()
	return formatFloat(f)
}

// formatFloat writes a float as JSON does.
func formatFloat(f float64) string {
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// checkType says why a text is not a value of the type.
func checkType(typ schema.Type, value string) error {
	var err error
	switch typ {
	case schema.TypeInt:
		_, err = strconv.ParseInt(value, 10, 64)
	case schema.TypeFloat, schema.TypeDouble:
		_, err = parseFloat(value)
	case schema.TypeBoolean:
		if value != "true" && value != "false" {
			err = errors.New("it is neither true nor false")
		}
	case schema.TypeBytes:
		_, err = base64.StdEncoding.DecodeString(value)
	default:
		if !utf8.ValidString(value) {
			err = errors.New("it is not UTF-8")
		}
	}
	var num *strconv.NumError
	if errors.As(err, &num) {
		err = num.Err
	}
	if err != nil {
		return fmt.Errorf("value %.80q is no %s: %w", value, typ, err)
	}
	return nil
}
