package program_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"21.5 °C\tok\n":           "21.5 °C\tok\n",
		"\x1b]0;title\a":          `\x1b]0;title\a`,
		"a\rb\u009b2J\x7f":        `a\rb\u009b2J\x7f`,
		"\x1b[2J and more\nlines": "\\x1b[2J and more\nlines",
	} {
		var out strings.Builder
		if n, err := fmt.Fprint(program.Plain(&out), text); n != len(text) || err != nil || out.String() != want {
			t.Errorf("%q is written as %q (%d, %v), want %q", text, out.String(), n, err, want)
		}
	}
}
