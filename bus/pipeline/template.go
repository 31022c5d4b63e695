package pipeline

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
)

// Template is a compiled v1alpha1.Template: a text with {EXPRESSION} in it. Render may be
// called by several goroutines at once.
type Template struct {
	texts    []string // one more than programs
	programs []Program
}

// CompileTemplate compiles a template. The results of its expressions may be strings, bools
// and numbers.
func CompileTemplate(x Expressions, text string) (*Template, error) {
	t := &Template{}
	var b strings.Builder
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "{{"), strings.HasPrefix(text[i:], "}}"):
			b.WriteByte(text[i])
			i += 2
		case text[i] == '}':
			return nil, fmt.Errorf("there is a } without {: write }} for the bracket itself")
		case text[i] == '{':
			n := closing(text[i+1:])
			if n < 0 {
				return nil, fmt.Errorf("there is a { without }: write {{ for the bracket itself")
			}
			p, err := x.Compile(text[i+1:i+1+n], Types{})
			if err != nil {
				return nil, fmt.Errorf("{%.60s}: %w", text[i+1:i+1+n], err)
			}
			t.programs = append(t.programs, p)
			t.texts = append(t.texts, b.String())
			b.Reset()
			i += n + 2
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	t.texts = append(t.texts, b.String())
	return t, nil
}

// closing returns where the bracket ends that was opened before text, or -1. Brackets in
// quotes do not count.
func closing(text string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{':
			depth++
		case c == '}':
			if depth == 0 {
				return i
			}
			depth--
		}
	}
	return -1
}

// Render returns the text. Parts that are not strings are written as JSON writes them.
func (t *Template) Render(v *Vars) (string, error) {
	if len(t.programs) == 0 {
		return t.texts[0], nil
	}
	var b strings.Builder
	for i, p := range t.programs {
		b.WriteString(t.texts[i])
		r, err := p.Eval(v)
		if err != nil {
			return "", err
		}
		switch r := r.(type) {
		case string:
			b.WriteString(r)
		case bool, int64, uint64, float64:
			raw, err := json.Marshal(r)
			if err != nil {
				return "", err
			}
			b.Write(raw)
		default:
			return "", fmt.Errorf("a part of the text is %s: it must be a text, a number or a bool", values.Short(r))
		}
	}
	b.WriteString(t.texts[len(t.programs)])
	return b.String(), nil
}
