// Package values has what the steps do with data of events: numbers, keys, and an encoding
// for the store.
package values

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
)

// maxDepth bounds how deep values are encoded and decoded.
const maxDepth = 64

// MaxKey is the greatest length of a key in bytes. Key shortens longer ones.
const MaxKey = 128

// ErrDamaged says that bytes are no encoded value.
var ErrDamaged = errors.New("values: the encoding is damaged")

// Number returns a number as float64.
func Number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	}
	return 0, false
}

// Key returns the text by which a value is a key. Equal values have equal keys. A text
// longer than MaxKey is cut and gets a hash.
func Key(v any) string {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []byte:
		s = string(v)
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			raw = fmt.Append(nil, v)
		}
		s = string(raw)
	}
	if len(s) > MaxKey {
		h := fnv.New128a()
		h.Write([]byte(s))
		return s[:MaxKey-33] + "#" + fmt.Sprintf("%x", h.Sum(nil))
	}
	return s
}

// Short is the begin of a value's text, for errors.
func Short(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v[:min(len(v), 40)])
	case nil, bool, int64, uint64, float64:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case []byte:
		return "bytes"
	}
	return fmt.Sprintf("%.40s", fmt.Sprint(v))
}

// Append appends the encoding of v. Equal values have equal encodings. What is no value of
// an event's data, or too deep, is encoded as its text.
func Append(b []byte, v any) []byte { return appendValue(b, v, 0) }

func appendValue(b []byte, v any, depth int) []byte {
	if depth > maxDepth {
		v = "(too deep)"
	}
	switch v := v.(type) {
	case nil:
		return append(b, 'n')
	case bool:
		if v {
			return append(b, 't')
		}
		return append(b, 'f')
	case int64:
		return binary.AppendVarint(append(b, 'i'), v)
	case uint64:
		return binary.AppendUvarint(append(b, 'u'), v)
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'd'), math.Float64bits(v))
	case string:
		return AppendString(append(b, 's'), v)
	case []byte:
		return append(binary.AppendUvarint(append(b, 'b'), uint64(len(v))), v...)
	case []any:
		b = binary.AppendUvarint(append(b, '['), uint64(len(v)))
		for _, e := range v {
			b = appendValue(b, e, depth+1)
		}
		return b
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		b = binary.AppendUvarint(append(b, '{'), uint64(len(v)))
		for _, k := range keys {
			b = appendValue(AppendString(b, k), v[k], depth+1)
		}
		return b
	}
	return AppendString(append(b, 's'), fmt.Sprint(v))
}

// AppendString appends a text with its length.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Reader reads what Append and the like have written. After a failure all reads return
// zeros, and Err the reason.
type Reader struct {
	b   []byte
	err error
}

// NewReader returns a Reader of b, which must not change while it is used.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

// Err returns ErrDamaged if a read has failed.
func (r *Reader) Err() error { return r.err }

// Empty reports whether all was read.
func (r *Reader) Empty() bool { return len(r.b) == 0 }

func (r *Reader) fail() { r.err, r.b = ErrDamaged, nil }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

// Int reads what binary.AppendVarint has written.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Uint reads what binary.AppendUvarint has written.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// Float reads eight bytes.
func (r *Reader) Float() float64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := math.Float64frombits(binary.BigEndian.Uint64(r.b))
	r.b = r.b[8:]
	return v
}

// Len reads a length of which each element takes at least one byte.
func (r *Reader) Len() int {
	n := r.Uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

// String reads a text.
func (r *Reader) String() string { return string(r.bytes()) }

func (r *Reader) bytes() []byte {
	n := r.Len()
	s := r.b[:n]
	r.b = r.b[n:]
	return s
}

// Value reads one value.
func (r *Reader) Value() any { return r.value(0) }

func (r *Reader) value(depth int) any {
	if depth > maxDepth+1 {
		r.fail()
		return nil
	}
	switch r.Byte() {
	case 't':
		return true
	case 'f':
		return false
	case 'i':
		return r.Int()
	case 'u':
		return r.Uint()
	case 'd':
		return r.Float()
	case 's':
		return r.String()
	case 'b':
		return slices.Clone(r.bytes())
	case '[':
		var list []any
		for n := r.Len(); n > 0 && r.err == nil; n-- {
			list = append(list, r.value(depth+1))
		}
		return list
	case '{':
		n := r.Len()
		m := make(map[string]any, min(n, 16))
		for ; n > 0 && r.err == nil; n-- {
			k := r.String()
			m[k] = r.value(depth + 1)
		}
		return m
	case 'n':
		return nil
	}
	r.fail()
	return nil
}
