package jsonlimit

import (
	"bytes"
	"strconv"
	"strings"
	"unicode/utf8"
)

type verdict uint8

const (
	none verdict = iota
	tooMuch
	tooDeep
	broken // not JSON; the decoder will say so
)

// Costs in bytes, of encoding/json and of the runtime.
const (
	costMap      = 48  // of an empty map
	costMismatch = 160 // an error that is made and dropped, for a value of another type
	costOwn      = 224 // of a decoder within a decoder
	costBox      = 24  // a list in an interface
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

// spend takes n bytes, as the runtime rounds them.
func (w *walker) spend(n int) {
	if n <= 0 {
		return
	}
	if n <= 32<<10 {
		n = (n + n/8 + 7) &^ 7
	} else {
		n = (n + 8<<10 - 1) &^ (8<<10 - 1)
	}
	if w.left -= n; w.left < 0 && w.over == none {
		w.over = tooMuch
	}
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

// field finds a field by its name in JSON, as encoding/json does: exactly, else in
// whatever case.
func (s *shape) field(key []byte) *shape {
	if f := s.fields[string(key)]; f != nil {
		return f
	}
	var room [maxName]byte
	if plain(key) {
		return s.folded[string(lower(room[:0], key))]
	}
	name := unquoted(room[:0], key)
	for known, f := range s.fields {
		if strings.EqualFold(known, string(name)) {
			return f
		}
	}
	return nil
}

// maxName is longer than any field's name; what is longer names none.
const maxName = 128

// plain reports whether text stands for itself.
func plain(text []byte) bool {
	for _, c := range text {
		if c >= utf8.RuneSelf || c == '\\' {
			return false
		}
	}
	return true
}

// lower appends text in lower case, as far as there is room.
func lower(b, text []byte) []byte {
	for _, c := range text[:min(len(text), cap(b))] {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		b = append(b, c)
	}
	return b
}

// unquoted appends what text stands for, as far as there is room. Escapes that
// no field's name has in it become something else than a letter.
func unquoted(b, text []byte) []byte {
	for i := 0; i < len(text) && len(b)+utf8.UTFMax <= cap(b); i++ {
		switch {
		case text[i] != '\\':
			b = append(b, text[i])
		case i+5 < len(text) && text[i+1] == 'u':
			r, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 16)
			if err != nil {
				return nil
			}
			b = utf8.AppendRune(b, rune(r))
			i += 5
		default:
			b = append(b, '\\')
			i++
		}
	}
	return b
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

// grown is how the runtime lets a slice grow.
func grown(n int) int {
	switch {
	case n == 0:
		return 1
	case n < 256:
		return 2 * n
	}
	return n + (n+3*256)/4
}

// slots are the places in a map.
type slots struct {
	size  int // of a place
	extra int // allocated for each entry besides
	have  int
	used  int
}

// add returns what one more entry allocates.
func (m *slots) add() int {
	n := m.extra
	if m.used == 0 {
		m.have = 8
		n += 8*m.size + 8
	} else if m.used >= m.have*7/8 && (m.have > 8 || m.used == 8) {
		m.have *= 2
		n += m.have*(m.size+1) + 64
	}
	m.used++
	return n
}

// inside is what stands in a value that decodes itself: as if it were made of
// maps.
func inside(s *shape) *shape {
	if s.kind == raw {
		return nil
	}
	return shapeOfAny()
}

func ownCost(s *shape, n int) int {
	switch {
	case s.kind == raw:
		return n
	case s.quantity && n <= 20:
		return n + 16
	case s.quantity: // its number is of any size
		return 64 + 24*n
	}
	return costOwn + 2*n
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

// stringCost is what a string of that much text between quotes takes.
func stringCost(value []byte) int {
	switch {
	case len(value) < 2:
		return 0
	case bytes.IndexByte(value, '\\') < 0 && utf8.Valid(value):
		return len(value)
	}
	return 8*len(value) + 16 // unquoted first, and three bytes for one that is no UTF-8
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
