package codec

import (
	"unicode/utf16"
	"unicode/utf8"
)

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
