// Package names turns texts of other systems into names that devices and properties may have.
package names

import "strings"

// Property turns a text into a name that a property may have.
func Property(text string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.,:/@#", r) {
			return r
		}
		return '-'
	}, text)
	if name == "" {
		return "-"
	}
	return name[:min(len(name), 128)]
}

// Resource turns the first text that has letters or digits into a name by the rules of Kubernetes
// (RFC 1123). If none has, it returns otherwise.
func Resource(otherwise string, texts ...string) string {
	for _, text := range texts {
		name := strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
				return r
			}
			return '-'
		}, strings.ToLower(text))
		for strings.Contains(name, "--") {
			name = strings.ReplaceAll(name, "--", "-")
		}
		if name = strings.Trim(name[:min(len(name), 63)], "-"); name != "" {
			return name
		}
	}
	return otherwise
}
