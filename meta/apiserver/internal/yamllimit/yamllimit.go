package yamllimit

import (
	"bytes"
	"fmt"
)

const (
	// Multiple is how many bytes parsing may allocate for each byte of a document,
	// by the reckoning of this package, which leaves some room below 20.
	Multiple = 17
	// Bytes that the parser and the JSON of its result need: for one key or value, for a
	// byte in a block scalar, for a byte outside of one, and in addition for a byte that
	// JSON escapes. Measured with sigs.k8s.io/yaml; TestAttackDecoders fails when they are
	// too low.
	costNode   = 600
	costText   = 15
	costByte   = 26
	costEscape = 41
	costQuote  = 7 // the escapes of two bytes
)

// Error says why a document was not parsed.
type Error struct {
	Line int    // from 1; 0 for the whole document
	Why  string // and the remedy
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return "YAML: " + e.Why
	}
	return fmt.Sprintf("YAML line %d: %s", e.Line, e.Why)
}

const remedy = "send the object as JSON (kubectl create --dry-run=client -o json makes it)"

// Check returns an *Error if parsing the document may need more than Multiple bytes for each
// of its own, or if Check cannot compute how many it needs.
func Check(doc []byte) error {
	r := reader{parent: -1}
	limit := Multiple * len(doc)
	for i := 1; len(doc) > 0; i++ {
		line, rest, _ := bytes.Cut(doc, []byte("\n"))
		doc = rest
		line = bytes.TrimSuffix(line, []byte("\r"))
		if special(line) || !r.line(line) {
			return &Error{i, "the memory to parse a large document in this form cannot be computed: " + remedy}
		}
		if r.cost > limit {
			return &Error{0, fmt.Sprintf("the document has so many short values that it would take more than %d bytes of memory: %s", limit, remedy)}
		}
	}
	return nil
}

// special reports whether a line has a character other than "\n" that ends a line in YAML,
// or the byte order mark of another encoding.
func special(line []byte) bool {
	for _, text := range []string{"\r", "\x00", "\u0085", "\u2028", "\u2029", "\ufeff", "\xff", "\xfe"} {
		if bytes.Contains(line, []byte(text)) {
			return true
		}
	}
	return false
}

// reader reads a document line by line. It accepts only lines that end outside of quotes and
// brackets.
type reader struct {
	cost   int  // of the lines so far, in bytes
	begun  bool // a line was not a comment
	block  bool // in a block scalar
	parent int  // column of what the block scalar belongs to
	margin int  // columns of its lines; until the first of them came, the most that a blank one had
	filled bool // the first of its lines came
}

func (r *reader) line(line []byte) bool {
	text := bytes.TrimLeft(line, " ")
	indent := len(line) - len(text)
	if r.block {
		switch {
		case len(text) == 0:
			r.cost += (indent + 1) * costText
			if !r.filled {
				r.margin = max(r.margin, indent)
			}
			return true
		case !r.filled:
			r.filled, r.margin = true, max(r.margin, indent, r.parent+1)
		}
		if indent >= r.margin {
			r.cost += (len(line)+1)*costText + escapes(line)
			return true
		}
		r.block = false
	}
	switch {
	case len(text) == 0 || text[0] == '#':
		return true
	case string(line) == "---" && !r.begun:
		r.begun = true
		return true
	case bytes.IndexByte(line, '\t') >= 0, bytes.HasPrefix(line, []byte("---")), bytes.HasPrefix(line, []byte("...")):
		return false
	}
	r.begun = true
	r.cost += (len(line)+1)*costByte + escapes(line)
	column := indent
	parent := -1
	for text[0] == '-' && (len(text) == 1 || text[1] == ' ') {
		r.cost += costNode
		parent = column
		rest := bytes.TrimLeft(text[1:], " ")
		column += len(text) - len(rest)
		if text = rest; len(text) == 0 {
			return true
		}
	}
	if n := key(text); n > 0 {
		r.cost += costNode
		parent = column
		text = bytes.TrimLeft(text[n:], " ")
	}
	r.cost += costNode
	return r.value(text, parent)
}

// escapes is the cost of the bytes in a line that JSON escapes.
func escapes(line []byte) int {
	n := 0
	for _, c := range line {
		switch {
		case c == '"' || c == '\\':
			n += costQuote
		case c < ' ' || c == '<' || c == '>' || c == '&' || c == 0x7f:
			n += costEscape
		}
	}
	return n
}

// key returns the length of a key with its colon, 0 if there is no key.
func key(text []byte) int {
	n := 0
	if text[0] == '"' {
		n = 1
	}
	for n < len(text) && safe(text[n]) {
		n++
	}
	if text[0] == '"' {
		if n >= len(text) || text[n] != '"' {
			return 0
		}
		n++
	}
	if n == 0 || n >= len(text) || text[n] != ':' || n+1 < len(text) && text[n+1] != ' ' {
		return 0
	}
	return n + 1
}

// safe are the characters without a meaning in YAML after the first one of a word.
func safe(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '.' || c == '/' || c == '-'
}

// value reads the value after a key or a dash.
func (r *reader) value(text []byte, parent int) bool {
	if len(text) == 0 || text[0] == '#' {
		return true
	}
	switch c := text[0]; c {
	case '|', '>':
		text = text[1:]
		if len(text) > 0 && (text[0] == '-' || text[0] == '+') {
			text = text[1:]
		}
		r.block, r.filled, r.parent, r.margin = true, false, parent, 0
		return parent >= 0 && ends(text)
	case '"', '\'':
		n := quoted(text)
		return n > 0 && ends(text[n:])
	case '[', '{':
		return r.list(text)
	default:
		return (safe(c) || c == '=' || c == '<' || c == '(' || c == '$' || c == '+') && plain(text)
	}
}

// ends reports whether nothing but a comment follows.
func ends(text []byte) bool {
	rest := bytes.TrimLeft(text, " ")
	return len(rest) == 0 || rest[0] == '#' && len(rest) < len(text)
}

// plain reports whether a plain scalar contains no further key.
func plain(text []byte) bool {
	return text[len(text)-1] != ':' && !bytes.Contains(text, []byte(": "))
}

// quoted returns the length of a quoted scalar, 0 if it does not end on the line.
func quoted(text []byte) int {
	mark := text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && mark == '"':
			i++
		case text[i] != mark:
		case mark == '\'' && i+1 < len(text) && text[i+1] == mark:
			i++
		default:
			return i + 1
		}
	}
	return 0
}

// list reads a list of words and quoted scalars on one line, and empty brackets.
func (r *reader) list(text []byte) bool {
	if text[0] == '{' {
		return bytes.HasPrefix(text, []byte("{}")) && ends(text[2:])
	}
	for text = text[1:]; len(text) > 0; {
		switch c := text[0]; {
		case c == ']':
			return ends(text[1:])
		case c == ' ' || c == ',':
			text = text[1:]
			continue
		case c == '"' || c == '\'':
			n := quoted(text)
			if n == 0 {
				return false
			}
			text = text[n:]
		case safe(c):
			n := 0
			for n < len(text) && safe(text[n]) {
				n++
			}
			text = text[n:]
		default:
			return false
		}
		r.cost += costNode
	}
	return false
}
