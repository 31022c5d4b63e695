package jsonlimit

import (
	"bytes"
	"strconv"
)

type verdict uint8

const (
	none verdict = iota
	tooMuch
	tooDeep
	broken // not JSON; the decoder will say so
)

// walker goes through a document once. It follows encoding/json: a value that
// does not fit its type is skipped, a name that is not known as well.
type walker struct {
	b    []byte
	at   int
	left int // bytes that may still be allocated
	over verdict
	path []string // of what was over, innermost first
}

func (w *walker) where() string {
	var b []byte
	for i := len(w.path) - 1; i >= 0; i-- {
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = append(b, w.path[i]...)
	}
	return string(b)
}

// next returns the first byte that is no space, and 0 at the end.
func (w *walker) next() byte {
	for ; w.at < len(w.b); w.at++ {
		switch c := w.b[w.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// value walks one value for a shape; nil and skipped make nothing of it.
func (w *walker) value(s *shape, depth int) {
	if depth > maxDepth && w.over == none {
		w.over = tooDeep
	}
	if w.over != none {
		return
	}
	for s != nil && s.kind == pointer {
		if w.next() == 'n' { // null
			break
		}
		s = s.elem
		w.spend(s.size)
	}
	switch c := w.next(); c {
	case '{':
		w.object(s, depth)
	case '[':
		w.array(s, depth)
	case '"':
		w.text(s)
	case 0, ',', ':', '}', ']':
		w.over = broken
	default:
		w.literal(s, c)
	}
}

// is reports the kind of a shape.
func is(s *shape, k kind) bool { return s != nil && s.kind == k }

// mismatch pays for a value that does not fit.
func (w *walker) mismatch(s *shape) {
	if s != nil && s.kind != skipped {
		w.spend(costMismatch)
	}
}

func (w *walker) object(s *shape, depth int) {
	from := w.at
	var elem *shape
	var entries slots
	switch {
	case is(s, dict), is(s, anything):
		w.spend(costMap)
		if elem = s; s.kind == dict {
			elem = s.elem
		}
		entries = slots{size: 16 + elem.size}
		if elem.size > 128 { // is kept outside of the map
			entries.size, entries.extra = 24, elem.size
		}
		if s.kind == dict {
			w.spend(elem.size)
			entries.extra += 16 // the key is boxed
		}
	case is(s, own), is(s, raw):
		defer func() { w.spend(ownCost(s, w.at-from)) }()
		elem = inside(s)
	case !is(s, object):
		w.mismatch(s)
	}
	for w.at++; w.over == none; {
		c := w.next()
		if c == '}' {
			w.at++
			return
		}
		if c != '"' {
			w.over = broken
			return
		}
		key := w.quoted()
		field := elem
		switch {
		case is(s, object):
			field = s.field(key)
		case entries.size > 0:
			w.spend(entries.add())
			w.spend(stringCost(key))
		}
		if !plain(key) {
			w.spend(2*len(key) + 16) // it is unquoted to be looked at
		}
		if w.next() != ':' {
			w.over = broken
			return
		}
		w.at++
		w.value(field, depth+1)
		w.note(key)
		if w.next() == ',' {
			w.at++
		}
	}
}

// note has the path of what was over the limit begin with key.
func (w *walker) note(key []byte) {
	if w.over != none && len(w.path) < 16 {
		w.path = append(w.path, string(key[:min(len(key), 64)]))
	}
}

// takes reports whether a scalar is sure to take the literal.
func (s *shape) takes(literal []byte) bool {
	switch c := literal[0]; {
	case s.digits == 0: // a truth value
		return c == 't' || c == 'f'
	case c == 't' || c == 'f' || len(literal) > s.digits:
		return false
	}
	for i, c := range literal {
		if (c < '0' || c > '9') && (c != '-' || i > 0 || s.unsigned) {
			return false
		}
	}
	return true
}

func (w *walker) array(s *shape, depth int) {
	from := w.at
	var elem *shape
	size := 0
	switch {
	case is(s, list):
		elem, size = s.elem, s.elem.size
	case is(s, text) && s.elem != nil: // bytes as numbers
		elem, size = s.elem, 1
	case is(s, array):
		elem = s.elem
	case is(s, anything):
		w.spend(costBox)
		elem, size = s, s.size
	case is(s, own), is(s, raw):
		defer func() { w.spend(ownCost(s, w.at-from)) }()
		elem = inside(s)
	default:
		w.mismatch(s)
	}
	have := 0
	w.at++
	for i := 0; w.over == none; i++ {
		if w.next() == ']' {
			w.at++
			return
		}
		if size > 0 && i == have {
			have = grown(have)
			w.spend(have * size)
		}
		w.value(elem, depth+1)
		if w.over != none && len(w.path) < 16 {
			w.path = append(w.path, strconv.Itoa(i))
		}
		if w.next() == ',' {
			w.at++
		}
	}
}

// inside is what stands in a value that decodes itself: as if it were made of
// maps.
func inside(s *shape) *shape {
	if s.kind == raw {
		return nil
	}
	return shapeOfAny()
}

func (w *walker) text(s *shape) {
	from := w.at
	value := w.quoted()
	switch {
	case s == nil:
	case s.kind == text:
		w.spend(stringCost(value))
	case s.kind == anything:
		w.spend(16)
		w.spend(stringCost(value))
	case s.kind == own, s.kind == raw:
		w.spend(ownCost(s, w.at-from))
	default:
		w.mismatch(s)
	}
}

// quoted takes a string and gives what is between its quotes.
func (w *walker) quoted() []byte {
	w.at++
	from := w.at
	for w.at < len(w.b) {
		i := bytes.IndexByte(w.b[w.at:], '"')
		if i < 0 {
			break
		}
		end := w.at + i
		escapes := 0
		for end-escapes > from && w.b[end-escapes-1] == '\\' {
			escapes++
		}
		if w.at = end + 1; escapes%2 == 0 {
			return w.b[from:end]
		}
	}
	w.at = len(w.b)
	w.over = broken
	return nil
}

func (w *walker) literal(s *shape, first byte) {
	from := w.at
	for w.at < len(w.b) && !ends(w.b[w.at]) {
		w.at++
	}
	n := w.at - from
	switch {
	case s == nil:
	case first == 'n' && s.kind != raw:
	case s.kind == own, s.kind == raw:
		w.spend(ownCost(s, n))
	case s.kind == scalar && s.takes(w.b[from:w.at]):
		w.spend(n / 2)
	case s.kind == anything:
		w.spend(16)
		w.spend(n)
	default:
		w.mismatch(s)
	}
}

// ends reports whether c ends a number or a name.
func ends(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ',', ':', ']', '}', '[', '{', '"':
		return true
	}
	return false
}
