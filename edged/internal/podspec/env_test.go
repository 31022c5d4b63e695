package podspec

import (
	"strings"
	"testing"
)

func TestExpand(t *testing.T) {
	lookup := func(n string) (string, bool) {
		v, ok := map[string]string{"A": "1", "B": "$(A)", "": "empty"}[n]
		return v, ok
	}
	for text, want := range map[string]string{
		"": "", "plain": "plain", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$(B)": "$(A)", "$(C)": "$(C)", "$$(A)": "$(A)", "$$$(A)": "$1",
		"$(A": "$(A", "$": "$", "a$b": "a$b", "$$": "$", "$()": "empty", "$(A))": "1)", "$($(A))": "$($(A))",
	} {
		if got := expand(text, lookup); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzExpand(f *testing.F) {
	for _, s := range []string{"$(A)", "$$(A", "$($(", "$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := expand(text, func(string) (string, bool) { return "", false })
		if !strings.Contains(text, "$") && got != text {
			t.Errorf("%q became %q", text, got)
		}
	})
}
