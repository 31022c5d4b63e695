package program

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Plain returns a Writer to w for text that comes from devices or other machines: control
// characters but newline and tab are written as \x1b, so that they cannot steer the terminal.
// It keeps no state: a character must not be cut in two Writes.
func Plain(w io.Writer) io.Writer { return plainWriter{w, false} }

type plainWriter struct {
	w    io.Writer
	json bool
}

func (p plainWriter) Write(b []byte) (int, error) {
	text := plainText(string(b))
	if p.json {
		text = plainJSON(string(b))
	}
	if _, err := io.WriteString(p.w, text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// PlainJSON is Plain for JSON: a control character is written as \u001b, which JSON reads as that
// character.
func PlainJSON(w io.Writer) io.Writer { return plainWriter{w, true} }

// PlainText is s as Plain writes it.
func PlainText(s string) string { return plainText(s) }

// plainText is s with its control characters written out.
func plainText(s string) string {
	if !strings.ContainsFunc(s, steers) {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if steers(r) {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// plainJSON is s, a part of a JSON document, with its control characters as JSON escapes.
// Outside of strings JSON has none but those that steers lets pass.
func plainJSON(s string) string {
	if !strings.ContainsFunc(s, steers) {
		return s
	}
	var out strings.Builder
	for _, r := range s {
		if steers(r) {
			fmt.Fprintf(&out, "\\u%04x", r)
			continue
		}
		out.WriteRune(r)
	}
	return out.String()
}

// steers reports whether r is for the terminal and not for the reader: a control character, or
// one that changes the direction of the text after it (https://trojansource.codes).
func steers(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069':
		return true
	}
	return unicode.IsControl(r)
}
