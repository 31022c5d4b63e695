package codec

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// lines are the lines of s without their ends.
func lines(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(s) {
			line = strings.TrimSuffix(line, "\n")
			if !yield(strings.TrimSuffix(line, "\r")) {
				return
			}
		}
	}
}

// csvDecoder decodes CSV (RFC 4180). One record becomes a map, more a list of maps; without
// the names of columns a record is a list. A field that is a number as JSON writes it becomes
// a number, others are texts.
type csvDecoder struct {
	columns   []string // empty: of the header, or none
	header    bool
	separator rune
}

func newCSV(spec *v1alpha1.CSVFormat) (*csvDecoder, error) {
	d := &csvDecoder{separator: ','}
	if spec == nil {
		return d, nil
	}
	seen := map[string]bool{}
	for i, c := range spec.Columns {
		if c != "" && seen[c] {
			return nil, fmt.Errorf("decode.csv.columns[%d]: %q is there twice: rename it, or leave it empty to skip the column", i, c)
		}
		seen[c] = true
	}
	if spec.Separator != "" {
		r, n := utf8.DecodeRuneInString(spec.Separator)
		if n != len(spec.Separator) || r == '"' || r == '\r' || r == '\n' || r == utf8.RuneError {
			return nil, fmt.Errorf("decode.csv.separator: %q is not possible: use one character, for example ;", spec.Separator)
		}
		d.separator = r
	}
	d.columns, d.header = spec.Columns, spec.Header
	return d, nil
}

// Decode implements pipeline.Decoder.
func (d *csvDecoder) Decode(b []byte) (any, error) {
	r := csvReader{b: b, separator: d.separator, left: budgetOf(len(b)), line: 1}
	columns := d.columns
	if d.header {
		fields, err := r.record()
		if err == nil && fields == nil {
			err = r.wrong("it has no record")
		}
		if err != nil {
			return nil, err
		}
		if len(columns) == 0 {
			if columns, err = r.names(fields); err != nil {
				return nil, err
			}
		}
	}
	var records listBuilder
	for {
		fields, err := r.record()
		if err != nil {
			return nil, err
		}
		if fields == nil {
			break
		}
		v, err := r.value(columns, fields)
		if err != nil {
			return nil, err
		}
		if !records.add(v, &r.left) {
			return nil, r.spend(0)
		}
	}
	list, ok := records.list(&r.left)
	switch {
	case !ok:
		return nil, r.spend(0)
	case len(list) == 1:
		return list[0], nil
	case len(list) == 0 && !d.header:
		return nil, r.wrong("it has no record")
	}
	return list, nil
}

// csvReader reads records as encoding/csv does: that one takes up to 160 bytes for each of a
// record with many fields.
type csvReader struct {
	b         []byte
	i         int
	line      int
	separator rune
	left      budget
	fields    [][]byte // of the record; good until the next one is read
}

// maxFields is how many fields a record may have.
const maxFields = 4096

func (r *csvReader) wrong(reason string) error {
	return &SyntaxError{Format: FormatCSV, Offset: r.i, Reason: fmt.Sprintf("line %d: %s", r.line, reason)}
}

func (r *csvReader) spend(n int) error {
	if r.left.spend(n) {
		return nil
	}
	return &LimitError{Format: FormatCSV, Offset: r.i}
}

// lineEnd returns the length of the end of a line at p: 1, 2, or 0 if there is none.
func (r *csvReader) lineEnd(p int) int {
	switch rest := r.b[p:]; {
	case bytes.HasPrefix(rest, []byte("\n")):
		return 1
	case bytes.HasPrefix(rest, []byte("\r\n")):
		return 2
	case len(rest) == 1 && rest[0] == '\r': // at the end of the payload
		return 1
	}
	return 0
}

// record reads the next record; nil means that there is none. Empty lines are skipped.
func (r *csvReader) record() ([][]byte, error) {
	for r.i < len(r.b) && r.lineEnd(r.i) > 0 {
		r.i += r.lineEnd(r.i)
		r.line++
	}
	if r.i >= len(r.b) {
		return nil, nil
	}
	r.fields = r.fields[:0]
	for {
		f, err := r.field()
		if err != nil {
			return nil, err
		}
		if len(r.fields) == cap(r.fields) {
			if len(r.fields) >= maxFields {
				return nil, r.wrong(fmt.Sprintf("a record has more than %d fields", maxFields))
			}
			r.fields = append(make([][]byte, 0, max(2*cap(r.fields), 16)), r.fields...) // at most 96 KiB twice
		}
		r.fields = append(r.fields, f)
		if _, n := utf8.DecodeRune(r.b[r.i:]); r.i < len(r.b) && r.lineEnd(r.i) == 0 {
			r.i += n // the separator
			continue
		}
		r.i += r.lineEnd(r.i)
		r.line++
		return r.fields, nil
	}
}

// field reads a field up to the separator or the end of the line.
func (r *csvReader) field() ([]byte, error) {
	if r.i < len(r.b) && r.b[r.i] == '"' {
		return r.quotedField()
	}
	start := r.i
	for r.i < len(r.b) && r.lineEnd(r.i) == 0 && !r.atSeparator() {
		if r.b[r.i] == '"' {
			return nil, r.wrong("a quote within a field that does not begin with one")
		}
		r.i++
	}
	return r.b[start:r.i], nil
}

func (r *csvReader) atSeparator() bool {
	if r.separator < utf8.RuneSelf {
		return r.b[r.i] == byte(r.separator)
	}
	c, _ := utf8.DecodeRune(r.b[r.i:])
	return c == r.separator
}

// quotedField reads a field in quotes. Only one with quotes, or ends of lines of two bytes, in
// it is copied.
func (r *csvReader) quotedField() ([]byte, error) {
	r.i++
	start := r.i
	var copied []byte
	flush := func(n int) error { // what was read until r.i goes on after n bytes
		if len(copied)+r.i-start > cap(copied) {
			size := 2*(len(copied)+r.i-start) + 64
			if err := r.spend(size); err != nil {
				return err
			}
			copied = append(make([]byte, 0, size), copied...)
		}
		copied = append(copied, r.b[start:r.i]...)
		r.i += n
		start = r.i
		return nil
	}
	for r.i < len(r.b) {
		switch c := r.b[r.i]; {
		case c == '"' && r.i+1 < len(r.b) && r.b[r.i+1] == '"':
			r.i++
			if err := flush(1); err != nil {
				return nil, err
			}
		case c == '"':
			f := r.b[start:r.i]
			if copied != nil {
				if err := flush(0); err != nil {
					return nil, err
				}
				f = copied
			}
			r.i++
			if r.i < len(r.b) && r.lineEnd(r.i) == 0 && !r.atSeparator() {
				return nil, r.wrong("a quoted field goes on after its quote: a quote in a field is written twice")
			}
			return f, nil
		case c == '\r' && r.lineEnd(r.i) > 0: // as one byte
			if err := flush(1); err != nil {
				return nil, err
			}
		default:
			if c == '\n' {
				r.line++
			}
			r.i++
		}
	}
	return nil, r.wrong("a quoted field has no end")
}

// names are the fields of a header.
func (r *csvReader) names(fields [][]byte) ([]string, error) {
	names := make([]string, len(fields))
	for i, f := range fields {
		if err := r.spend(textCost(len(f))); err != nil {
			return nil, err
		}
		names[i] = string(f)
	}
	return names, nil
}

// value makes a map of fields, or a list if the columns have no names.
func (r *csvReader) value(columns []string, fields [][]byte) (any, error) {
	if len(columns) == 0 {
		if err := r.spend(costList + len(fields)*costItem); err != nil {
			return nil, err
		}
		list := make([]any, len(fields))
		for i, f := range fields {
			if err := r.spend(textCost(len(f))); err != nil {
				return nil, err
			}
			list[i] = csvField(f)
		}
		return list, nil
	}
	if len(fields) != len(columns) {
		return nil, r.wrong(fmt.Sprintf("the record before has %d fields, there are %d columns", len(fields), len(columns)))
	}
	if err := r.spend(mapCost(len(columns))); err != nil {
		return nil, err
	}
	m := make(map[string]any, len(columns))
	for i, f := range fields {
		if columns[i] == "" {
			continue
		}
		if err := r.spend(textCost(len(f))); err != nil {
			return nil, err
		}
		m[columns[i]] = csvField(f)
	}
	return m, nil
}

// csvField is a number if f is one as JSON writes it, otherwise a text.
func csvField(f []byte) any {
	if n := len(f); n > 0 && n <= 32 && (f[0] == '-' || f[0]-'0' <= 9) {
		p := jsonParser{b: f}
		if v, err := p.number(); err == nil && p.i == n {
			return v
		}
	}
	return string(f)
}
