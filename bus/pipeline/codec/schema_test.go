package codec

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
)

const readingSchema = `{"type": "object", "required": ["device", "value"], "properties": {"device": {"type": "string", "pattern": "^d[0-9]+$"}, "value": {"type": "number", "maximum": 100},
	"seq": {"type": "integer"}, "raw": {"type": "string", "maxLength": 8}, "list": {"type": "array", "items": {"$ref": "#/$defs/item"}}}, "additionalProperties": false, "$defs": {"item": {"type": "integer"}}}`

func TestSchema(t *testing.T) {
	v, err := Schema(readingSchema)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		data any
		want string // of the error
	}{
		{map[string]any{"device": "d1", "value": 80.5, "seq": int64(5), "raw": []byte{1, 2}, "list": []any{1.0, int64(2), uint64(math.MaxUint64)}}, ""},
		{map[string]any{"device": "d1", "value": 100.5}, "/value: maximum: got 100.5, want 100"},
		{map[string]any{"device": "d1", "value": "x"}, "/value: got string, want number"},
		{map[string]any{"device": "d1"}, "the data: missing property 'value'"},
		{map[string]any{"device": "x", "value": 1.0}, "/device: 'x' does not match pattern"},
		{map[string]any{"device": "d1", "value": 1.0, "more": true}, "the data: additional properties 'more' not allowed"},
		{map[string]any{"device": "d1", "value": 1.0, "list": []any{1.0, 1.5}}, "/list/1: got number, want integer"},
		{map[string]any{"device": "d1", "value": 1.0, "raw": make([]byte, 9)}, "/raw: maxLength"},
		{map[string]any{"device": "d1", "value": math.NaN()}, "JSON does not have: NaN"},
		{"text", "the data: got string, want object"},
		{nil, "the data: got null, want object"},
		{nestedList(200), "64 levels"},
		{map[string]any{"device": "d1", "value": 1.0, "list": make([]any, 100_000)}, "too large to say where"},
	} {
		err := v.Validate(c.data)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.80v: %v; want %q", c.data, err, c.want)
		}
	}
	at, err := Schema(`{"type": "string"}`)
	if err != nil {
		t.Fatal(err)
	}
	if err := at.Validate(time.Now()); err != nil {
		t.Errorf("a time: %v", err)
	}
}

// double is a schema whose allOf lead to the next one twice, n times.
func double(n int) string {
	b := &strings.Builder{}
	b.WriteString(`{"$ref": "#/$defs/a0", "$defs": {`)
	for i := range n {
		fmt.Fprintf(b, `"a%d": {"allOf": [{"$ref": "#/$defs/a%d"}, {"$ref": "#/$defs/a%d"}]}, `, i, i+1, i+1)
	}
	fmt.Fprintf(b, `"a%d": {"type": "number"}}}`, n)
	return b.String()
}

func TestSchemaRefuses(t *testing.T) {
	for text, want := range map[string]string{
		`{`: "it is not JSON", `5`: "not a JSON Schema: the schema: got number", `{"type": "thing"}`: "not a JSON Schema: /type: value must be one of", `{"pattern": "["}`: "/pattern: '[' is not valid regex",
		`{"$ref": "https://example.com/a"}`: "\"https://example.com/a\": nothing is loaded", `{"$ref": "file:///etc/passwd"}`: "\"file:///etc/passwd\": nothing is loaded", `{"$ref": "other.json"}`: "nothing is loaded",
		`{"$schema": "https://example.com/draft"}`: "nothing is loaded", `{"$ref": "#/$defs/none"}`: "\"#/$defs/none\" not found",
		`{"$ref": "#"}`: "leads back", `{"allOf": [{"$ref": "#"}]}`: "leads back",
		double(40): "schemas may be applied", double(200): "schemas may be applied",
		`{"properties": {"a": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}}`:                        "schemas may be applied",
		`{"items": {"anyOf": [{"$ref": "#"}, {"not": {"$ref": "#"}}]}}`:                           "schemas may be applied",
		`{"description": "` + strings.Repeat("a", MaxSchema) + `"}`:                               "65536 are allowed",
		`{"additionalProperties": {"$ref": "#"}, "patternProperties": {"": {"$ref": "#"}}}`:       "schemas may be applied",
		`{"$schema": "http://json-schema.org/draft-04/schema#", "id": "http://a/b", "$ref": "c"}`: "nothing is loaded",
	} {
		if _, err := Schema(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100s: %v; want %s", text, err, want)
		}
	}
	for _, text := range []string{
		`true`, `{}`, double(5), `{"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}`, `{"$schema": "https://json-schema.org/draft/2019-09/schema", "type": "object"}`,
		`{"properties": {"children": {"items": {"$ref": "#"}}}}`, `{"$id": "https://example.com/a", "$ref": "#/$defs/b", "$defs": {"b": {"type": "object"}}}`, `{"format": "date-time"}`,
	} {
		if _, err := Schema(text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestAttackSchema has the event of 1 MiB with the most values that do not match. Each of them
// takes some 400 bytes for a moment; with errors it would be thousands, all at once.
func TestAttackSchema(t *testing.T) {
	v, err := Schema(`{"items": {"type": "string", "minLength": 3}}`)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]any, pipeline.MaxEvent/9)
	if n := allocated(func() { err = v.Validate(list) }); err == nil || n > 64<<20 {
		t.Errorf("%d bytes, %v", n, err)
	}
}

func FuzzSchema(f *testing.F) {
	f.Add(readingSchema, []byte(`{"device":"d1","value":1}`))
	f.Add(`{"oneOf": [{"type": "null"}, {"enum": [1, "a"]}], "uniqueItems": true}`, []byte(`[1,1]`))
	var j JSON
	f.Fuzz(func(t *testing.T, text string, b []byte) {
		s, err := Schema(text)
		if err != nil {
			return
		}
		data, err := j.Decode(b)
		if err != nil {
			return
		}
		check := s.(*validator).check.Validate(data)
		if full := s.(*validator).full.Validate(data); (check == nil) != (full == nil) {
			t.Errorf("%s, %s: %v, %v", text, b, check, full)
		}
	})
}

func BenchmarkSchema(b *testing.B) {
	v, err := Schema(readingSchema)
	if err != nil {
		b.Fatal(err)
	}
	data := map[string]any{"device": "d1", "value": 80.5}
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Validate(data); err != nil {
			b.Fatal(err)
		}
	}
}
