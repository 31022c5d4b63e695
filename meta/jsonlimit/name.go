package jsonlimit

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

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
