package bundle

import (
	"encoding/json"
	"regexp"
	"strings"
)

// removed stands in for what was taken out.
const removed = "(removed)"

// secrets are the forms in which secrets appear in text. The groups, if there are some, stay. Too
// much is taken out rather than too little.
func secrets() []*regexp.Regexp {
	return []*regexp.Regexp{
		// A private key, also one whose end was cut off.
		regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`),
		// The end of a private key whose beginning was cut off, with all that is before it.
		regexp.MustCompile(`(?s)\A.*-----END [A-Z ]*PRIVATE KEY-----`),
		// A JSON Web Token.
		regexp.MustCompile(`eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*`),
		// What an Authorization header has.
		regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)[A-Za-z0-9+/_.=-]{6,}`),
		// A user and password in a URL.
		regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s/@"']+(@)`),
		// A password or the like with its name: password=x, "token": "x", --api-key x.
		regexp.MustCompile(`(?i)((?:pass(?:word|wd|phrase)?|pwd|token|secret|credentials?|authorization|api[-_]?key|private[-_]?key|client[-_]?secret|psk)[a-z0-9_-]*\\?["']?\s*[:=]\s*)(?:\\?"(?:[^"\\]|\\.)*\\?"|'[^']*'|[^\s,;}"']+)`),
		regexp.MustCompile(`(?i)(--?(?:[a-z-]*-)?(?:password|passwd|token|secret|api-key|psk)\s+)\S+`),
		// A join token: edgekit.ID.SECRET.PIN.
		regexp.MustCompile(`\bedgekit\.[A-Za-z0-9]+\.[A-Za-z0-9]+(?:\.[A-Za-z0-9]+)?`),
		// Hexadecimal digits or base64 of a key's length after the word key.
		regexp.MustCompile(`(?i)(\bkey["'\\]*\s*[:=]\s*["'\\]*)(?:[0-9a-f]{32,}|[A-Za-z0-9+/]{40,}={0,2})`),
	}
}

// Scrub replaces what looks like a secret in text that a program has written.
func Scrub(text []byte) []byte {
	for _, form := range secrets() {
		text = form.ReplaceAll(text, []byte("${1}"+removed+"${2}")) // a group that a form does not have is empty
	}
	return text
}

// ScrubJSON is Scrub for each text in a JSON document, which stays one. Lists of texts are lines of
// one text.
func ScrubJSON(text []byte) ([]byte, error) {
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	return indent(scrubValue(all))
}

func scrubValue(value any) any {
	switch v := value.(type) {
	case string:
		return string(Scrub([]byte(v)))
	case map[string]any:
		for key, one := range v {
			v[key] = scrubValue(one)
		}
	case []any:
		lines := make([]string, 0, len(v))
		for i, one := range v {
			if line, ok := one.(string); ok {
				lines = append(lines, line)
			}
			v[i] = scrubValue(one)
		}
		if len(v) > 0 && len(lines) == len(v) {
			return strings.Split(string(Scrub([]byte(strings.Join(lines, "\n")))), "\n")
		}
	}
	return value
}
