// Package jsonpath reads and makes JSON at a path such as $.sensors[0].temperature: the part
// of RFC 9535 that names one value.
package jsonpath

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// Path names one value in JSON. The zero value is the whole. A Path does not change.
type Path struct{ steps []step }

// step is a member's name, or an index if the name is empty.
type step struct {
	name  string
	index int
}

// Parse reads a path: names after dots, indices and quoted names in brackets. The "$" and the
// dot at the beginning may be left out; "" and "$" are the whole.
func Parse(text string) (Path, error) {
	rest := strings.TrimPrefix(text, "$")
	if len(rest) == len(text) && rest != "" && rest[0] != '[' && rest[0] != '.' {
		rest = "." + rest
	}
	var p Path
	for rest != "" {
		if len(p.steps) == 32 {
			return Path{}, fmt.Errorf("path %.80q: no more than 32 steps", text)
		}
		var s step
		switch {
		case rest[0] == '.':
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			s.name, rest = rest[1:end], rest[end:]
			if s.name == "" {
				return Path{}, fmt.Errorf("path %.80q: a name is missing after a dot", text)
			}
		case len(rest) > 2 && (rest[1] == '\'' || rest[1] == '"'):
			end := strings.Index(rest[2:], rest[1:2]+"]")
			if end < 1 {
				return Path{}, fmt.Errorf("path %.80q: want ['name']", text)
			}
			s.name, rest = rest[2:2+end], rest[2+end+2:]
		case rest[0] == '[':
			inner, after, ok := strings.Cut(rest[1:], "]")
			n, err := strconv.Atoi(inner)
			if !ok || err != nil || n < 0 || n > 1<<20 {
				return Path{}, fmt.Errorf("path %.80q: want an index such as [0]", text)
			}
			s.index, rest = n, after
		default:
			return Path{}, fmt.Errorf("path %.80q: want a dot or a bracket before %.20q", text, rest)
		}
		p.steps = append(p.steps, s)
	}
	return p, nil
}

// Decode reads JSON from outside. Numbers keep their text.
func Decode(raw []byte) (any, error) {
	var v any
	if err := jsonlimit.Check(raw, new(any)); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("the answer is not JSON: %w", err)
	}
	return v, nil
}

// Text returns the value at the path in the form of a property's type.
func (p Path) Text(v any, typ schema.Type) (string, error) {
	for n, s := range p.steps {
		object, isObject := v.(map[string]any)
		list, isList := v.([]any)
		switch {
		case s.name != "" && isObject:
			inner, ok := object[s.name]
			if !ok {
				return "", fmt.Errorf("there is no %s", Path{p.steps[:n+1]})
			}
			v = inner
		case s.name == "" && isList && s.index < len(list):
			v = list[s.index]
		default:
			return "", fmt.Errorf("there is no %s", Path{p.steps[:n+1]})
		}
	}
	return text(v, typ)
}

// text writes a value by its type.
func text(v any, typ schema.Type) (string, error) {
	switch x := v.(type) {
	case nil:
		return "", errors.New("the value is null")
	case string:
		if typ == schema.TypeBoolean {
			if on, ok := boolean(x); ok {
				return strconv.FormatBool(on), nil
			}
		}
		return x, nil
	case bool:
		if typ == schema.TypeInt || typ == schema.TypeFloat || typ == schema.TypeDouble {
			return map[bool]string{true: "1", false: "0"}[x], nil
		}
		return strconv.FormatBool(x), nil
	case json.Number:
		if typ == schema.TypeInt {
			if f, err := x.Float64(); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
				return strconv.FormatInt(int64(f), 10), nil // "20.0" and "2e1" are integers
			}
		}
		if typ == schema.TypeBoolean {
			if on, ok := boolean(x.String()); ok {
				return strconv.FormatBool(on), nil
			}
		}
		return x.String(), nil
	}
	raw, err := json.Marshal(v) // an object or a list
	return string(raw), err
}

// boolean knows the words of switches.
func boolean(s string) (on, ok bool) {
	switch strings.ToLower(s) {
	case "true", "on", "1", "open":
		return true, true
	case "false", "off", "0", "close", "closed":
		return false, true
	}
	return false, false
}

// Make returns the JSON of a value in the form of its type, in objects that have it at the
// path. Lists cannot be made: their other values are not known.
func (p Path) Make(value string, typ schema.Type) ([]byte, error) {
	raw, err := literal(value, typ)
	if err != nil {
		return nil, err
	}
	for n := len(p.steps) - 1; n >= 0; n-- {
		if p.steps[n].name == "" {
			return nil, fmt.Errorf("path %s has an index: it cannot be written", p)
		}
		name, err := json.Marshal(p.steps[n].name)
		if err != nil {
			return nil, err
		}
		raw = []byte("{" + string(name) + ":" + string(raw) + "}")
	}
	return raw, nil
}

// literal is a value as JSON.
func literal(value string, typ schema.Type) ([]byte, error) {
	switch typ {
	case schema.TypeInt, schema.TypeFloat, schema.TypeDouble:
		if f, err := strconv.ParseFloat(value, 64); err != nil || math.IsNaN(f) || math.IsInf(f, 0) || !json.Valid([]byte(value)) {
			return nil, fmt.Errorf("%.80q is not a number", value)
		}
		return []byte(value), nil
	case schema.TypeBoolean:
		if value != "true" && value != "false" {
			return nil, fmt.Errorf("%.80q is neither true nor false", value)
		}
		return []byte(value), nil
	}
	return json.Marshal(value)
}

// String is the path as text.
func (p Path) String() string {
	var b strings.Builder
	b.WriteString("$")
	for _, s := range p.steps {
		if s.name == "" {
			fmt.Fprintf(&b, "[%d]", s.index)
		} else {
			b.WriteString("." + s.name)
		}
	}
	return b.String()
}
