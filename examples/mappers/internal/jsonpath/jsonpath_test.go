package jsonpath

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

func TestText(t *testing.T) {
	doc := `{"a":{"b":[{"c":21.50},true,"on",null]},"odd name":1,"n":2e1,"text":"x","big":12345678901234567890,"o":{"p":[1]}}`
	for _, test := range []struct {
		path  string
		typ   schema.Type
		want  string
		fails string
	}{
		{"$.a.b[0].c", schema.TypeFloat, "21.50", ""},
		{"a.b[0].c", schema.TypeFloat, "21.50", ""},
		{".a.b[1]", schema.TypeBoolean, "true", ""},
		{"$.a.b[1]", schema.TypeInt, "1", ""},
		{"$.a.b[2]", schema.TypeBoolean, "true", ""},
		{"$['odd name']", schema.TypeInt, "1", ""},
		{"$['odd name']", schema.TypeBoolean, "true", ""},
		{"n", schema.TypeInt, "20", ""},
		{"text", schema.TypeString, "x", ""},
		{"big", schema.TypeInt, "12345678901234567890", ""}, // the SDK refuses what is no int64
		{"o", schema.TypeString, `{"p":[1]}`, ""},
		{"$.a.b[3]", schema.TypeInt, "", "null"},
		{"$.a.b[4]", schema.TypeInt, "", "no $.a.b[4]"},
		{"$.a.x.y", schema.TypeInt, "", "no $.a.x"},
		{"$.text.y", schema.TypeInt, "", "no $.text.y"},
	} {
		p, err := Parse(test.path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := Decode([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Text(v, test.typ)
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%s: got %q, %v; want an error with %q", test.path, got, err, test.fails)
			}
		} else if err != nil || got != test.want {
			t.Errorf("%s as %s: got %q, %v; want %q", test.path, test.typ, got, err, test.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, path := range []string{"$.", "$..a", "$[", "$[a]", "$[-1]", "$['a", "$['']", "$x]", "$[0]a", "a.", strings.Repeat(".a", 33)} {
		if p, err := Parse(path); err == nil {
			t.Errorf("%q: got %s, want an error", path, p)
		}
	}
}

func TestMake(t *testing.T) {
	for _, test := range []struct {
		path, value string
		typ         schema.Type
		want        string
	}{
		{"", "21.5", schema.TypeFloat, "21.5"},
		{"a.b", "true", schema.TypeBoolean, `{"a":{"b":true}}`},
		{"a", `quote"`, schema.TypeString, `{"a":"quote\""}`},
		{"a", "NaN", schema.TypeFloat, ""},
		{"a", "1, \"b\": 2", schema.TypeInt, ""},
		{"a", "0x10", schema.TypeInt, ""},
		{"a", "yes", schema.TypeBoolean, ""},
		{"a[0]", "1", schema.TypeInt, ""},
	} {
		p, err := Parse(test.path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.Make(test.value, test.typ); string(got) != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s = %s: got %s, %v; want %s", test.path, test.value, got, err, test.want)
		}
	}
}

func FuzzPath(f *testing.F) {
	f.Add("$.a[0]['b']", `{"a":[{"b":1}]}`)
	f.Add("x", `[]`)
	f.Fuzz(func(t *testing.T, path, doc string) {
		p, err := Parse(path)
		if err != nil {
			return
		}
		again, err := Parse(p.String())
		if err == nil && again.String() != p.String() {
			t.Errorf("%q gives %q, which gives %q", path, p, again)
		}
		v, err := Decode([]byte(doc))
		if err != nil {
			return
		}
		_, _ = p.Text(v, schema.TypeInt)
		if made, err := p.Make("1", schema.TypeInt); err == nil && !json.Valid(made) {
			t.Errorf("%q makes %s", path, made)
		}
	})
}
