package codec

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// An EncodeError says what data a format cannot have.
type EncodeError struct {
	Format string // json, cbor, csv
	Reason string
}

func (e *EncodeError) Error() string { return "codec: " + e.Format + ": " + e.Reason }

// AppendJSON appends v, which is data of an event, as JSON. Fields are sorted by their names,
// so that the same data is the same text. Bytes are written as base64, times as in RFC 3339.
// NaN and the infinities are errors.
func AppendJSON(dst []byte, v any) ([]byte, error) { return appendJSON(dst, v, 0) }

func appendJSON(dst []byte, v any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, &EncodeError{"json", fmt.Sprintf("values are nested more than %d levels deep", MaxDepth)}
	}
	var err error
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case float64:
		return appendFloat(dst, v)
	case string:
		return appendText(dst, v), nil
	case []byte:
		dst = append(dst, '"')
		dst = base64.StdEncoding.AppendEncode(dst, v)
		return append(dst, '"'), nil
	case time.Time:
		return append(v.AppendFormat(append(dst, '"'), time.RFC3339Nano), '"'), nil
	case []any:
		dst = append(dst, '[')
		for i, e := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			if dst, err = appendJSON(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	case map[string]any:
		dst = append(dst, '{')
		var room [16]string
		for i, k := range sortedKeys(v, room[:0]) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendText(dst, k), ':')
			if dst, err = appendJSON(dst, v[k], depth+1); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	}
	return nil, &EncodeError{"json", fmt.Sprintf("a value of type %T is not data of an event", v)}
}

// sortedKeys appends the keys of m to room, in their order.
func sortedKeys(m map[string]any, room []string) []string {
	for k := range m {
		room = append(room, k)
	}
	slices.Sort(room)
	return room
}

// appendFloat writes a number as encoding/json does, which follows ECMAScript.
func appendFloat(dst []byte, f float64) ([]byte, error) {
	if math.IsInf(f, 0) || math.IsNaN(f) {
		return nil, &EncodeError{"json", fmt.Sprintf("JSON has no number %v: filter it out, or replace it in a map step", f)}
	}
	format, a := byte('f'), math.Abs(f)
	if a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	dst = strconv.AppendFloat(dst, f, format, -1, 64)
	if format == 'e' { // e-09 becomes e-9
		if n := len(dst); n >= 4 && dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
			dst[n-2] = dst[n-1]
			dst = dst[:n-1]
		}
	}
	return dst, nil
}

// appendText writes a text between quotes.
func appendText(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // of a string there is no error
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

// AppendCBOR appends v, which is data of an event, as CBOR in its deterministic form (RFC
// 8949, section 4.2.1, with floats of 64 bits): fields are sorted by their names. A time
// becomes a text with tag 0.
func AppendCBOR(dst []byte, v any) ([]byte, error) { return appendCBOR(dst, v, 0) }

func appendCBOR(dst []byte, v any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, &EncodeError{"cbor", fmt.Sprintf("values are nested more than %d levels deep", MaxDepth)}
	}
	var err error
	switch v := v.(type) {
	case nil:
		return append(dst, 0xf6), nil
	case bool:
		if v {
			return append(dst, 0xf5), nil
		}
		return append(dst, 0xf4), nil
	case int64:
		if v < 0 {
			return appendHead(dst, cborNegative, uint64(-1-v)), nil
		}
		return appendHead(dst, cborUint, uint64(v)), nil
	case uint64:
		return appendHead(dst, cborUint, v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(dst, 0xfb), math.Float64bits(v)), nil
	case string:
		if !utf8.ValidString(v) {
			return nil, &EncodeError{"cbor", "a text is not UTF-8"}
		}
		return append(appendHead(dst, cborText, uint64(len(v))), v...), nil
	case []byte:
		return append(appendHead(dst, cborBytes, uint64(len(v))), v...), nil
	case time.Time:
		return appendCBOR(append(dst, 0xc0), v.Format(time.RFC3339Nano), depth+1)
	case []any:
		dst = appendHead(dst, cborArray, uint64(len(v)))
		for _, e := range v {
			if dst, err = appendCBOR(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case map[string]any:
		dst = appendHead(dst, cborMap, uint64(len(v)))
		var room [16]string
		keys := sortedKeys(v, room[:0])
		slices.SortStableFunc(keys, func(a, b string) int { return len(a) - len(b) }) // the length is in the first bytes
		for _, k := range keys {
			if dst, err = appendCBOR(dst, k, depth+1); err != nil {
				return nil, err
			}
			if dst, err = appendCBOR(dst, v[k], depth+1); err != nil {
				return nil, err
			}
		}
		return dst, nil
	}
	return nil, &EncodeError{"cbor", fmt.Sprintf("a value of type %T is not data of an event", v)}
}

// appendHead writes the first bytes of an item, as few as there may be.
func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n <= math.MaxUint8:
		return append(dst, major|24, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}
