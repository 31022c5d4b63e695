package rules

import (
	"cmp"
	"net/url"
	"strings"

	"github.com/edgekit/edgekit/bus/rules/wire"
)

// pattern is the path of a rule whose source is rest: its parts, "" for a {name}.
type pattern []string

// parsePattern splits a path. It reports false for one with an empty part.
func parsePattern(path string) (pattern, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	for i, part := range parts {
		if part == "" {
			return nil, false
		}
		if part[0] == '{' && part[len(part)-1] == '}' {
			parts[i] = ""
		}
	}
	return parts, true
}

// template reports whether the pattern has a {name}.
func (p pattern) template() bool {
	for _, part := range p {
		if part == "" {
			return true
		}
	}
	return false
}

// match reports whether the parts of a request begin with the pattern.
func (p pattern) match(parts []string) bool {
	if len(parts) < len(p) {
		return false
	}
	for i, part := range p {
		if part != "" && part != parts[i] {
			return false
		}
	}
	return true
}

// comparePatterns orders patterns by which answers first: a literal part before a {name},
// the earliest difference decides, and a longer pattern before its own beginning. Patterns
// that compare equal match the same paths.
func comparePatterns(a, b pattern) int {
	for i := range min(len(a), len(b)) {
		if (a[i] == "") != (b[i] == "") {
			if b[i] == "" {
				return -1
			}
			return 1
		}
		if c := cmp.Compare(a[i], b[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(b), len(a))
}

// request is the path of a request to the entry.
type request struct {
	node, namespace string
	raw             []string // the parts after the namespace, escaped
	parts           []string // the same, as text
}

// parseRequest splits an escaped path. It reports false for one that is none of the entry:
// empty parts, . and .., or too few.
func parseRequest(escaped string) (request, bool) {
	parts := strings.Split(strings.TrimPrefix(escaped, "/"), "/")
	if len(parts) < 3 {
		return request{}, false
	}
	if parts[len(parts)-1] == "" { // a slash at the end
		parts = parts[:len(parts)-1]
	}
	text := make([]string, len(parts))
	for i, raw := range parts {
		part, err := url.PathUnescape(raw)
		if err != nil || part == "" || wire.DotParts(raw) {
			return request{}, false
		}
		text[i] = part
	}
	if len(parts) < 3 {
		return request{}, false
	}
	return request{node: text[0], namespace: text[1], raw: parts[2:], parts: text[2:]}, true
}

// rest is what a target gets after its own path: all that follows a literal pattern, and,
// as KubeEdge has it, the whole path where the pattern has a {name}.
func rest(p pattern, parts []string) []string {
	if p.template() {
		return parts
	}
	return parts[len(p):]
}
