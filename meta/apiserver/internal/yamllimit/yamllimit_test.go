package yamllimit_test

import (
	"runtime"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/edgekit/edgekit/hub/decodetest"
	"github.com/edgekit/edgekit/meta/apiserver/internal/yamllimit"
)

func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 4000)
	for doc, ok := range map[string]bool{
		"a: " + long + "":                  false, // a word costs more than 20 a byte, whatever it is
		"a: |\n  " + long:                  true,
		"---\n# c\na: |- # c\n  " + long:   true,
		"- |\n " + long:                    true,
		"a: |\r\n  " + long + "\r\n":       true,
		"a: |\n\n\n  [[" + long + "\n b":   true,  // b is outside of the text
		"a: |\n        \n  [[[" + long:     false, // so is all of it
		"a: |2\n  " + long:                 false,
		"a: \"x\n  b: |\n  " + long:        false,
		"a: 'x\n  b: |\n  " + long:         false,
		"a: [x\n  b: |\n  " + long:         false,
		"a'b: \"c'\nd: |\n  " + long:       false,
		"x y: \"c\nd: |\n  " + long:        false,
		"a: b: \"c\nd: |\n  " + long:       false,
		"? a\nd: |\n  " + long:             false,
		"a: &x b\nd: |\n  " + long:         false,
		"a: *x\nd: |\n  " + long:           false,
		"a: !!binary b\nd: |\n  " + long:   false,
		"a: |\n  " + long + "\n---\nb: [":  false,
		"a: |\n  x\u2028b: [" + long:       false,
		"a: |\n  x\u0085b: [" + long:       false,
		"\ufeffa: |\n  " + long:            false,
		"|\n  " + long:                     false,
		"%YAML 1.1\na: |\n  " + long:       false,
		"a:\t|\n  " + long:                 false,
		"a: \"\\\"\nd: |\n  " + long:       false,
		"a: \"b\" \"c\nd: |\n  " + long:    false,
		"a: [\"b\", c] [\nd: |\n  " + long: false,
		"":                                 true,
	} {
		if err := yamllimit.Check([]byte(doc)); (err == nil) != ok {
			t.Errorf("%.40q: %v", doc, err)
		}
	}
}

// FuzzCheck compares the estimate with what the parser really allocates.
func FuzzCheck(f *testing.F) {
	for _, doc := range []string{"a: |\n  b\n", "- a\n- [b, 'c']\n", "---\na:\n- b: \"c\"\n  d: {}\n", "a: |\n      \n  b: [c\n", "a: >-\n\n x\n", "a: b # c: |\n  d\n", "- - |\n   a\n  b\n"} {
		f.Add(doc, uint8(3))
	}
	f.Fuzz(func(t *testing.T, unit string, end uint8) {
		if len(unit) == 0 || len(unit) > 1000 {
			return
		}
		doc := []byte(unit[:int(end)%len(unit)] + strings.Repeat(unit[int(end)%len(unit):], 16<<10/len(unit)))
		if yamllimit.Check(doc) != nil {
			return
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := yaml.YAMLToJSON(doc)
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > uint64(decodetest.Most*max(len(doc), decodetest.Least)) {
			t.Errorf("%d bytes for %d: %.200q, %v", took, len(doc), doc, err)
		}
	})
}
