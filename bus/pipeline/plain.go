package pipeline

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// numbers replaces the json.Number in v.
func numbers(v any) (any, error) {
	var err error
	switch t := v.(type) {
	case json.Number:
		return number(string(t))
	case []any:
		for i := range t {
			if t[i], err = numbers(t[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range t {
			if t[k], err = numbers(t[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func number(text string) (any, error) {
	if !strings.ContainsAny(text, ".eE") {
		if i, err := strconv.ParseInt(text, 10, 64); err == nil {
			return i, nil
		}
		if u, err := strconv.ParseUint(text, 10, 64); err == nil {
			return u, nil
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, fmt.Errorf("JSON: the number %.40s is out of range", text)
	}
	return f, nil
}

type jsonDecoder struct{}

func (jsonDecoder) Decode(b []byte) (any, error) { return decodeJSON(b) }

type textDecoder struct{}

func (textDecoder) Decode(b []byte) (any, error) {
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("the payload is no text in UTF-8: use decode.format none or another one")
	}
	return string(b), nil
}

// plainDecoder is the DecoderMaker without bus/pipeline/codec.
func plainDecoder(d *v1alpha1.Decode) (Decoder, error) {
	switch d.Format {
	case "json":
		return jsonDecoder{}, nil
	case "text":
		return textDecoder{}, nil
	}
	return nil, fmt.Errorf("format %.40q: this program decodes json and text only", d.Format)
}
