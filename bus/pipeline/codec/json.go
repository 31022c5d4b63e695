package codec

import (
	"fmt"
	"math"
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// JSON decodes one JSON document. Objects become map[string]any, arrays []any, numbers
// float64. A whole number that a float64 cannot hold exactly becomes an int64 or uint64.
// The zero value is ready for use. Several goroutines may use one JSON at once, and must not
// copy it: it remembers the names of fields.
type JSON struct {
	names names
	pool  sync.Pool
}

// A SyntaxError says where an input is not what its format wants.
type SyntaxError struct {
	Format string // json, cbor, csv, ...
	Offset int    // of the first wrong byte
	Reason string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("codec: %s at byte %d: %s", e.Format, e.Offset, e.Reason)
}

// Decode implements the decoder of pipelines. It keeps nothing of b.
func (j *JSON) Decode(b []byte) (any, error) {
	p, _ := j.pool.Get().(*jsonParser)
	if p == nil {
		p = &jsonParser{names: &j.names}
	}
	p.b, p.i, p.left = b, 0, budgetOf(len(b))
	v, err := p.document()
	p.b = nil
	clear(p.stack) // not empty after an error
	if p.stack = p.stack[:0]; cap(p.stack) <= maxKept && cap(p.text) <= maxKept {
		j.pool.Put(p)
	}
	return v, err
}

// maxKept is how many elements, and bytes, a parser may have room for to be used again.
const maxKept = 4 * chunk

// jsonParser reads one document. Elements of the arrays that are not yet whole wait on its
// stack, so that each array is allocated once.
type jsonParser struct {
	b     []byte
	i     int
	depth int
	left  budget
	stack []any
	text  []byte // the room for a string with escapes
	names *names
}

func (p *jsonParser) document() (any, error) {
	p.depth = 0
	v, err := p.value()
	if err != nil {
		return nil, err
	}
	if p.space(); p.i < len(p.b) {
		return nil, p.wrong("there is more than one value")
	}
	return v, nil
}

func (p *jsonParser) wrong(reason string) error {
	return &SyntaxError{Format: "json", Offset: p.i, Reason: reason}
}

func (p *jsonParser) spend(n int) error {
	if p.left.spend(n) {
		return nil
	}
	return &LimitError{Format: "json", Offset: p.i}
}

// space skips white space and returns the byte after it, 0 at the end.
func (p *jsonParser) space() byte {
	for p.i < len(p.b) {
		switch c := p.b[p.i]; c {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return c
		}
	}
	return 0
}

func (p *jsonParser) value() (any, error) {
	switch c := p.space(); c {
	case '{':
		return p.object()
	case '[':
		return p.array()
	case '"':
		return p.string()
	case 't':
		return true, p.word("true")
	case 'f':
		return false, p.word("false")
	case 'n':
		return nil, p.word("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		if err := p.spend(costBox); err != nil {
			return nil, err
		}
		return p.number()
	}
	if p.i >= len(p.b) {
		return nil, p.wrong("it ends where a value should be")
	}
	return nil, p.wrong("there is no value here")
}

// enter begins an object or array that needs n bytes.
func (p *jsonParser) enter(n int) error {
	if p.depth++; p.depth > MaxDepth {
		return &LimitError{Format: "json", Offset: p.i, Deep: true}
	}
	p.i++
	return p.spend(n)
}

// leave ends one.
func (p *jsonParser) leave() { p.i++; p.depth-- }

func (p *jsonParser) word(w string) error {
	if len(p.b)-p.i < len(w) || string(p.b[p.i:p.i+len(w)]) != w {
		return p.wrong("there is no value here")
	}
	p.i += len(w)
	return nil
}

func (p *jsonParser) object() (any, error) {
	if err := p.enter(costMap); err != nil {
		return nil, err
	}
	m := make(map[string]any)
	if p.space() == '}' {
		p.leave()
		return m, nil
	}
	for {
		if p.space() != '"' {
			return nil, p.wrong("a field's name in quotes should be here")
		}
		name, err := p.name()
		if err != nil {
			return nil, err
		}
		if p.space() != ':' {
			return nil, p.wrong("a colon should be here")
		}
		p.i++
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if err := p.spend(entryCost(len(m))); err != nil {
			return nil, err
		}
		m[name] = v
		switch p.space() {
		case ',':
			p.i++
		case '}':
			p.leave()
			return m, nil
		default:
			return nil, p.wrong("a comma or } should be here")
		}
	}
}

func (p *jsonParser) array() (any, error) {
	if err := p.enter(costList); err != nil {
		return nil, err
	}
	if p.space() == ']' {
		p.leave()
		return []any{}, nil
	}
	from := len(p.stack)
	var full [][]any
	for {
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		if err := p.push(v); err != nil {
			return nil, err
		}
		if len(p.stack)-from == chunk {
			if err := p.spend(chunk*costItem + 5*costList); err != nil {
				return nil, err
			}
			full = append(full, append(make([]any, 0, chunk), p.stack[from:]...))
			p.pop(from)
		}
		switch p.space() {
		case ',':
			p.i++
		case ']':
			p.leave()
			n := len(full)*chunk + len(p.stack) - from
			if err := p.spend(n * costItem); err != nil {
				return nil, err
			}
			list := make([]any, 0, n)
			for _, c := range full {
				list = append(list, c...)
			}
			list = append(list, p.stack[from:]...)
			p.pop(from)
			return list, nil
		default:
			return nil, p.wrong("a comma or ] should be here")
		}
	}
}

// push puts an element onto the stack.
func (p *jsonParser) push(v any) error {
	if n := cap(p.stack); len(p.stack) == n {
		if n >= maxKept { // up to there it is used again
			if err := p.spend(2 * n * costItem); err != nil {
				return err
			}
		}
		p.stack = append(make([]any, 0, max(2*n, 64)), p.stack...)
	}
	p.stack = append(p.stack, v)
	return nil
}

// pop removes the elements from the stack that are above n.
func (p *jsonParser) pop(n int) {
	clear(p.stack[n:])
	p.stack = p.stack[:n]
}

// name reads the name of a field.
func (p *jsonParser) name() (string, error) {
	b, err := p.quoted()
	if err != nil {
		return "", err
	}
	name, fresh := p.names.of(b)
	if fresh {
		return name, p.spend(textCost(len(name)))
	}
	return name, nil
}

// string reads a string.
func (p *jsonParser) string() (any, error) {
	b, err := p.quoted()
	if err != nil {
		return nil, err
	}
	if err := p.spend(textCost(len(b))); err != nil {
		return nil, err
	}
	return string(b), nil
}

// quoted reads a string and returns its bytes, which are good until the next one is read.
func (p *jsonParser) quoted() ([]byte, error) {
	ascii := true
	for i := p.i + 1; i < len(p.b); i++ {
		switch c := p.b[i]; {
		case c == '"':
			b := p.b[p.i+1 : i]
			if !ascii && !utf8.Valid(b) {
				return p.unquote()
			}
			p.i = i + 1
			return b, nil
		case c == '\\':
			return p.unquote()
		case c < ' ':
			p.i = i
			return nil, p.wrong("a control character in a text must be escaped")
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	p.i = len(p.b)
	return nil, p.wrong("it ends within a text")
}

// unquote reads a string with escapes or with bytes that are no UTF-8, which become U+FFFD as
// in encoding/json.
func (p *jsonParser) unquote() ([]byte, error) {
	p.i++
	p.text = p.text[:0]
	for p.i < len(p.b) {
		if cap(p.text)-len(p.text) < utf8.UTFMax {
			n := 2*cap(p.text) + 64
			if cap(p.text) >= maxKept {
				if err := p.spend(n); err != nil {
					return nil, err
				}
			}
			p.text = append(make([]byte, 0, n), p.text...)
		}
		switch c := p.b[p.i]; {
		case c == '"':
			p.i++
			return p.text, nil
		case c < ' ':
			return nil, p.wrong("a control character in a text must be escaped")
		case c == '\\':
			r, ok := p.escape()
			if !ok {
				return nil, p.wrong("a text has an escape that JSON does not know")
			}
			p.text = utf8.AppendRune(p.text, r)
		default:
			r, n := utf8.DecodeRune(p.b[p.i:])
			p.text = utf8.AppendRune(p.text, r)
			p.i += n
		}
	}
	return nil, p.wrong("it ends within a text")
}

// escape reads an escape sequence.
func (p *jsonParser) escape() (rune, bool) {
	if p.i+1 >= len(p.b) {
		return 0, false
	}
	c := p.b[p.i+1]
	if c == 'u' {
		r, ok := hexRune(p.b[p.i:])
		if !ok {
			return 0, false
		}
		p.i += 6
		if utf16.IsSurrogate(r) {
			low, ok := hexRune(p.b[p.i:])
			if both := utf16.DecodeRune(r, low); ok && both != utf8.RuneError {
				p.i += 6
				return both, true
			}
			return utf8.RuneError, true
		}
		return r, true
	}
	r, ok := escapes[c]
	if ok {
		p.i += 2
	}
	return r, ok
}

// escapes are those of one letter.
var escapes = map[byte]rune{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// hexRune reads \uXXXX at the beginning of b.
func hexRune(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads a number.
func (p *jsonParser) number() (any, error) {
	start, whole := p.i, true
	if p.b[p.i] == '-' {
		p.i++
	}
	intStart := p.i
	n := p.digits()
	if n == 0 || n > 1 && p.b[intStart] == '0' {
		p.i = start
		return nil, p.wrong("a number is malformed")
	}
	if p.i < len(p.b) && p.b[p.i] == '.' {
		p.i++
		if whole = false; p.digits() == 0 {
			return nil, p.wrong("a number is malformed")
		}
	}
	if p.i < len(p.b) && p.b[p.i]|0x20 == 'e' {
		p.i++
		if p.i < len(p.b) && (p.b[p.i] == '+' || p.b[p.i] == '-') {
			p.i++
		}
		if whole = false; p.digits() == 0 {
			return nil, p.wrong("a number is malformed")
		}
	}
	text := p.b[start:p.i]
	if whole && n <= 15 {
		return smallInt(text), nil
	}
	v, ok := parseNumber(text, whole)
	if !ok {
		p.i = start
		return nil, p.wrong("a number is too large")
	}
	return v, nil
}

// digits skips digits and returns how many there were.
func (p *jsonParser) digits() int {
	start := p.i
	for p.i < len(p.b) && p.b[p.i]-'0' <= 9 {
		p.i++
	}
	return p.i - start
}

// smallInt is the value of a whole number of at most 15 digits, which a float64 holds exactly.
func smallInt(text []byte) float64 {
	negative := text[0] == '-'
	if negative {
		text = text[1:]
	}
	var n int64
	for _, c := range text {
		n = n*10 + int64(c-'0')
	}
	if f := float64(n); !negative {
		return f
	}
	return math.Copysign(float64(n), -1)
}

// parseNumber returns a number as a float64, or as a whole one where that is exact and a
// float64 is not.
func parseNumber(text []byte, whole bool) (any, bool) {
	s := unsafe.String(&text[0], len(text)) // used within this function only: strconv keeps a copy in its errors
	if whole {
		if n, err := strconv.ParseInt(s, 10, 64); err == nil {
			return exactInt(n), true
		}
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return exactUint(n), true
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// exactInt is n as JSON numbers are decoded: a float64 where that is exact.
func exactInt(n int64) any {
	if n >= -1<<53 && n <= 1<<53 {
		return float64(n)
	}
	return n
}

// exactUint is exactInt for numbers without a sign.
func exactUint(n uint64) any {
	if n <= 1<<53 {
		return float64(n)
	}
	if n <= math.MaxInt64 {
		return int64(n)
	}
	return n
}
