package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// items are what a request has read: bits, or registers as bytes in the order of the wire.
type items struct {
	bits      []bool
	registers []byte
}

// text is the value of a point that begins at the item first.
func (i items) text(p point, first int) (string, error) {
	if p.table.bits() {
		if first < 0 || first >= len(i.bits) {
			return "", fmt.Errorf("the slave answered %d bits, want %d", len(i.bits), first+1)
		}
		if p.typ == schema.TypeBoolean || p.typ == "" {
			return strconv.FormatBool(i.bits[first]), nil
		}
		return map[bool]string{true: "1", false: "0"}[i.bits[first]], nil
	}
	from, to := 2*first, 2*(first+p.count)
	if from < 0 || to > len(i.registers) {
		return "", fmt.Errorf("the slave answered %d bytes, want %d", len(i.registers), to)
	}
	return p.decode(i.registers[from:to])
}

// decode reads registers in the order of the specification: the highest byte first.
func (p point) decode(raw []byte) (string, error) {
	switch p.typ {
	case schema.TypeString:
		return strings.ToValidUTF8(strings.TrimRight(string(raw), "\x00"), "\uFFFD"), nil
	case schema.TypeBytes, schema.TypeStream:
		return base64.StdEncoding.EncodeToString(raw), nil
	case schema.TypeBoolean:
		return strconv.FormatBool(strings.Trim(string(raw), "\x00") != ""), nil
	case schema.TypeFloat, schema.TypeDouble:
		switch len(raw) {
		case 4:
			return strconv.FormatFloat(float64(math.Float32frombits(binary.BigEndian.Uint32(raw))), 'g', -1, 32), nil
		case 8:
			return strconv.FormatFloat(math.Float64frombits(binary.BigEndian.Uint64(raw)), 'g', -1, 64), nil
		}
	}
	switch len(raw) { // INT, and FLOAT of one register, which has a scale
	case 2:
		return strconv.FormatInt(int64(int16(binary.BigEndian.Uint16(raw))), 10), nil
	case 4:
		return strconv.FormatInt(int64(int32(binary.BigEndian.Uint32(raw))), 10), nil
	case 8:
		return strconv.FormatInt(int64(binary.BigEndian.Uint64(raw)), 10), nil
	}
	return "", fmt.Errorf("limit is %d: set 1, 2 or 4 registers for type %s", p.count, p.typ)
}

// encode is the inverse of decode.
func (p point) encode(value string) ([]byte, error) {
	size := 2 * p.count
	raw := make([]byte, size)
	switch p.typ {
	case schema.TypeString:
		if len(value) > size {
			return nil, fmt.Errorf("the text has %d bytes, %d registers hold %d", len(value), p.count, size)
		}
		copy(raw, value)
		return raw, nil
	case schema.TypeBytes, schema.TypeStream:
		b, err := base64.StdEncoding.DecodeString(value)
		if err != nil || len(b) != size {
			return nil, fmt.Errorf("want base64 of %d bytes, as limit is %d", size, p.count)
		}
		return b, nil
	case schema.TypeBoolean:
		on, err := parseBit(value)
		if on {
			raw[size-1] = 1
		}
		return raw, err
	case schema.TypeFloat, schema.TypeDouble:
		if size == 4 || size == 8 {
			return encodeFloat(raw, value)
		}
	}
	if size > 8 || size == 6 {
		return nil, fmt.Errorf("limit is %d: set 1, 2 or 4 registers for type %s", p.count, p.typ)
	}
	n, err := strconv.ParseInt(value, 10, 8*size)
	if err != nil {
		return nil, fmt.Errorf("%q does not fit in %d registers: want a whole number from %d to %d", value, p.count, int64(-1)<<(8*size-1), uint64(1)<<(8*size-1)-1)
	}
	var all [8]byte
	binary.BigEndian.PutUint64(all[:], uint64(n))
	copy(raw, all[8-size:])
	return raw, nil
}

func encodeFloat(raw []byte, value string) ([]byte, error) {
	x, err := strconv.ParseFloat(value, 8*len(raw))
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) {
		return nil, fmt.Errorf("%q is not a number of %d bits", value, 8*len(raw))
	}
	if len(raw) == 4 {
		binary.BigEndian.PutUint32(raw, math.Float32bits(float32(x)))
	} else {
		binary.BigEndian.PutUint64(raw, math.Float64bits(x))
	}
	return raw, nil
}

func parseBit(value string) (bool, error) {
	switch value {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", value)
}
