package codec

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
)

// reference decodes with encoding/json, and numbers as JSON.Decode says.
func reference(b []byte) (any, error) {
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, &SyntaxError{}
	}
	return exact(v)
}

func exact(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		n, ok := parseNumber([]byte(v), !strings.ContainsAny(string(v), ".eE"))
		if !ok {
			return nil, &SyntaxError{}
		}
		return n, nil
	case []any:
		for i := range v {
			if v[i], err = exact(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = exact(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func TestJSON(t *testing.T) {
	var j JSON
	for in, want := range map[string]any{
		`null`: nil, ` true `: true, `false`: false, `""`: "", `"a\n\u00e9\ud83d\ude00"`: "a\né😀", "\"\xff\"": "\ufffd",
		`0`: 0.0, `-1`: -1.0, `80`: 80.0, `80.5`: 80.5, `1e3`: 1000.0, `-1.5E-2`: -0.015,
		`9007199254740992`: 9007199254740992.0, `9007199254740993`: int64(9007199254740993), `18446744073709551615`: uint64(math.MaxUint64),
		`123456789012345678901234567890`: 123456789012345678901234567890.0,
		`[]`:                             []any{}, `{}`: map[string]any{}, `[1,[2,[3]],"x"]`: []any{1.0, []any{2.0, []any{3.0}}, "x"},
		`{"a":{"b":[true,null]},"a2":1}`: map[string]any{"a": map[string]any{"b": []any{true, nil}}, "a2": 1.0},
		`{"a":1,"a":2}`:                  map[string]any{"a": 2.0}, `{"\u0061":1}`: map[string]any{"a": 1.0},
	} {
		if got, err := j.Decode([]byte(in)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %#v, %v; want %#v", in, got, err, want)
		}
	}
}

func TestJSONRefuses(t *testing.T) {
	var j JSON
	for in, want := range map[string]string{
		``: "byte 0: it ends where", `{`: "byte 1: a field's name", `{"a"}`: "byte 4: a colon", `{"a":1,}`: "byte 7: a field's name", `[1 2]`: "byte 3: a comma or ]",
		`[1,]`: "byte 3: there is no value", `tru`: "byte 0", `nulll`: "byte 4: there is more", `01`: "byte 0: a number", `1.`: "a number", `-`: "a number", `1e`: "a number", `1e999`: "too large",
		`"a`: "within a text", "\"a\nb\"": "control", `"\x"`: "escape", `{} {}`: "byte 3: there is more", `"a\`: "escape",
		strings.Repeat("[", 100) + strings.Repeat("]", 100): "64 levels",
	} {
		if got, err := j.Decode([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %#v, %v; want %s", in, got, err, want)
		}
	}
	if got, err := j.Decode([]byte(`[1,{"a":[2]}]`)); err != nil {
		t.Errorf("after errors: %v, %v", got, err)
	}
}

func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.5,-3e2,"x\n",null,true]}`, `[[[]]]`, `"\ud800"`, `{"":{}}`, "\"\xff\xfe\"", `9007199254740993`, `-0`, `0.1e-400`} {
		f.Add([]byte(s))
	}
	var j JSON
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := j.Decode(b)
		want, werr := reference(b)
		var limit *LimitError
		if asLimit(err, &limit) {
			return
		}
		if (err == nil) != (werr == nil) {
			t.Fatalf("%q: %v, encoding/json: %v", b, err, werr)
		}
		if err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%q: %#v, encoding/json: %#v", b, got, want)
		}
	})
}

var sample = []byte(`{"device":"press-17","value":80.53,"unit":"Cel","at":"2026-11-30T14:00:00Z","ok":true,"seq":123456}`)

func BenchmarkJSON(b *testing.B) {
	var j JSON
	b.ReportAllocs()
	b.SetBytes(int64(len(sample)))
	for b.Loop() {
		if _, err := j.Decode(sample); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkJSONReference(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(sample)))
	for b.Loop() {
		var v any
		if err := json.Unmarshal(sample, &v); err != nil {
			b.Fatal(err)
		}
	}
}
