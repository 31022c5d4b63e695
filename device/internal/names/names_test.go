package names

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for text, want := range map[string]string{"": "-", "a b": "a-b", "Ä.x": "-.x", "aZ09-_.,:/@#": "aZ09-_.,:/@#", strings.Repeat("x", 130): strings.Repeat("x", 128)} {
		if got := Property(text); got != want {
			t.Errorf("Property(%q) is %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{"Boiler 1 (hall 3)": "boiler-1-hall-3", "": "thing", "Ü": "thing", "--a--": "a", strings.Repeat("a", 70): strings.Repeat("a", 63)} {
		if got := Resource("thing", text); got != want {
			t.Errorf("Resource(%q) is %q, want %q", text, got, want)
		}
	}
	if got := Resource("thing", "?", "urn:a"); got != "urn-a" {
		t.Errorf("of the second text: got %q", got)
	}
}
