package values_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
)

func TestKey(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for _, c := range []struct {
		v    any
		want string
	}{
		{"a", "a"}, {int64(-1), "-1"}, {uint64(1), "1"}, {1.5, "1.5"}, {2.0, "2"}, {true, "true"}, {nil, "null"}, {[]byte("b"), "b"},
		{map[string]any{"b": 1.0, "a": "x"}, `{"a":"x","b":1}`}, {[]any{"a", nil}, `["a",null]`},
	} {
		if have := values.Key(c.v); have != c.want {
			t.Errorf("%v: %q, want %q", c.v, have, c.want)
		}
	}
	a, b := values.Key(long+"a"), values.Key(long+"b")
	if a == b || len(a) > values.MaxKey || a != values.Key(long+"a") {
		t.Errorf("%q and %q", a, b)
	}
	// A key becomes the subject of an event, which is valid text.
	keys := make(map[string]bool)
	for _, v := range []any{strings.Repeat("\u6e29", 100), "x" + strings.Repeat("\u6e29", 100), "a\xff", "a\xfe", []byte("\xff\xfe"), []byte("\xff")} {
		key := values.Key(v)
		if keys[key] || !utf8.ValidString(key) || len(key) > values.MaxKey {
			t.Errorf("%q", key)
		}
		keys[key] = true
	}
}

func TestShort(t *testing.T) {
	for _, c := range []struct {
		v    any
		want string
	}{
		{"a", `"a"`}, {strings.Repeat("x", 100), `"` + strings.Repeat("x", 40) + `"`}, {int64(8), "8"}, {nil, "<nil>"}, {[]any{}, "a list"},
		{map[string]any{}, "an object"}, {[]byte{1}, "bytes"},
	} {
		if have := values.Short(c.v); have != c.want {
			t.Errorf("%v: %s, want %s", c.v, have, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, v := range []any{int64(2), uint64(2), 2.0} {
		if f, ok := values.Number(v); !ok || f != 2 {
			t.Errorf("%T: %v %v", v, f, ok)
		}
	}
	for _, v := range []any{"2", nil, true} {
		if _, ok := values.Number(v); ok {
			t.Errorf("%v is a number", v)
		}
	}
}
