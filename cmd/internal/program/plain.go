package program

import (
	"io"
	"strconv"
	"strings"
	"unicode"
)

// Plain returns a Writer to w for text that comes from devices or other machines: control
// characters but newline and tab are written as \x1b, so that they cannot steer the terminal.
// It keeps no state: a character must not be cut in two Writes.
func Plain(w io.Writer) io.Writer { return plainWriter{w} }

type plainWriter struct{ w io.Writer }

func (p plainWriter) Write(b []byte) (int, error) {
	if _, err := io.WriteString(p.w, plainText(string(b))); err != nil {
		return 0, err
	}
	return len(b), nil
}

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

func steers(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }
