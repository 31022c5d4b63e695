package value

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// MaxDepth is how deep lists and maps may lie in each other.
const MaxDepth = 64

// ErrDamaged is returned for bytes that Append did not write.
var ErrDamaged = errors.New("value is damaged")

// The kinds of values. They are on disk: they never change.
const (
	kindNil    = 0
	kindFalse  = 1
	kindTrue   = 2
	kindInt    = 3 // zigzag varint
	kindUint   = 4 // varint
	kindFloat  = 5 // 8 bytes, big-endian
	kindString = 6
	kindBytes  = 7
	kindList   = 8 // count, elements
	kindMap    = 9 // count, then key and value by rising key
)

// Append appends the form of v to b. It fails for a type that no event has, and for lists and
// maps deeper than MaxDepth.
func Append(b []byte, v any) ([]byte, error) { return appendValue(b, v, 0) }

func appendValue(b []byte, v any, depth int) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return append(b, kindNil), nil
	case bool:
		if v {
			return append(b, kindTrue), nil
		}
		return append(b, kindFalse), nil
	case int64:
		return binary.AppendVarint(append(b, kindInt), v), nil
	case int:
		return binary.AppendVarint(append(b, kindInt), int64(v)), nil
	case uint64:
		return binary.AppendUvarint(append(b, kindUint), v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, kindFloat), math.Float64bits(v)), nil
	case string:
		return AppendText(append(b, kindString), v), nil
	case []byte:
		b = binary.AppendUvarint(append(b, kindBytes), uint64(len(v)))
		return append(b, v...), nil
	case []any:
		if depth >= MaxDepth {
			return nil, fmt.Errorf("lists and maps lie in each other more than %d deep", MaxDepth)
		}
		b = binary.AppendUvarint(append(b, kindList), uint64(len(v)))
		var err error
		for _, e := range v {
			if b, err = appendValue(b, e, depth+1); err != nil {
				return nil, err
			}
		}
		return b, nil
	case map[string]any:
		if depth >= MaxDepth {
			return nil, fmt.Errorf("lists and maps lie in each other more than %d deep", MaxDepth)
		}
		return appendMap(b, v, depth)
	}
	return nil, fmt.Errorf("type %T is none of an event's data", v)
}

func appendMap(b []byte, m map[string]any, depth int) ([]byte, error) {
	b = binary.AppendUvarint(append(b, kindMap), uint64(len(m)))
	var few [16]string
	keys := slices.AppendSeq(few[:0], maps.Keys(m))
	slices.Sort(keys)
	var err error
	for _, k := range keys {
		b = AppendText(b, k)
		if b, err = appendValue(b, m[k], depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// AppendText appends the length of s and s.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// Reader reads what was appended. After a fault it gives zeros, and Err says so.
type Reader struct {
	rest []byte
	bad  bool
}

// NewReader reads b. What it returns does not share memory with b.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

// Err returns ErrDamaged after a fault, and nil before.
func (r *Reader) Err() error {
	if r.bad {
		return ErrDamaged
	}
	return nil
}

// Len is how many bytes are left.
func (r *Reader) Len() int { return len(r.rest) }

func (r *Reader) fail() { r.rest, r.bad = nil, true }

// Uint reads a varint.
func (r *Reader) Uint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Int reads a zigzag varint.
func (r *Reader) Int() int64 {
	v, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// Count reads the number of elements that follow, of which each has at least size bytes.
func (r *Reader) Count(size int) int {
	n := r.Uint()
	if n > uint64(len(r.rest)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

// Text reads what AppendText wrote.
func (r *Reader) Text() string { return string(r.next(r.Count(1))) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if b := r.next(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *Reader) next(n int) []byte {
	if n > len(r.rest) {
		r.fail()
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

// Value reads what Append wrote.
func (r *Reader) Value() any { return r.value(0) }

func (r *Reader) value(depth int) any {
	kind := r.Byte()
	switch {
	case r.bad:
		return nil
	case depth >= MaxDepth && kind >= kindList:
		r.fail()
		return nil
	}
	switch kind {
	case kindNil:
		return nil
	case kindFalse, kindTrue:
		return kind == kindTrue
	case kindInt:
		return r.Int()
	case kindUint:
		return r.Uint()
	case kindFloat:
		if b := r.next(8); len(b) == 8 {
			return math.Float64frombits(binary.BigEndian.Uint64(b))
		}
		return nil
	case kindString:
		return r.Text()
	case kindBytes:
		return append([]byte{}, r.next(r.Count(1))...)
	case kindList:
		return r.list(depth)
	case kindMap:
		return r.table(depth)
	}
	r.fail()
	return nil
}

func (r *Reader) list(depth int) any {
	n := r.Count(1)
	list := make([]any, 0, min(n, 64)) // more only as elements are read
	for range n {
		list = append(list, r.value(depth+1))
		if r.bad {
			return nil
		}
	}
	return list
}

func (r *Reader) table(depth int) any {
	n := r.Count(2)
	m := make(map[string]any, min(n, 64))
	before := ""
	for i := range n {
		key := r.Text()
		if i > 0 && key <= before {
			r.fail()
		}
		v := r.value(depth + 1)
		if r.bad {
			return nil
		}
		m[key], before = v, key
	}
	return m
}
