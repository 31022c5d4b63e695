package codec

import (
	"fmt"
	"sync"
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
