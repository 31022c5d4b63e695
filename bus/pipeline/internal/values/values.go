// Package values has what the steps do with data of events: numbers, keys and short texts.
package values

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxKey is the greatest length of a key in bytes. Key shortens longer ones.
const MaxKey = 128

// Number returns a number as float64.
func Number(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	}
	return 0, false
}

// Map returns a copy of v in which leaf has replaced what is neither a list nor an object, at any
// depth. The caller has bounded the depth.
func Map(v any, leaf func(any) any) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Map(e, leaf)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = Map(e, leaf)
		}
		return out
	}
	return leaf(v)
}

// Key returns the text by which a value is a key: valid UTF-8, since it becomes the subject of
// events. Equal values have equal keys. A text longer than MaxKey is cut and gets a hash, and so
// does one that is not valid.
func Key(v any) string {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case int64:
		return strconv.FormatInt(v, 10)
	case uint64:
		return strconv.FormatUint(v, 10)
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case []byte:
		s = string(v)
	default:
		raw, err := json.Marshal(v)
		if err != nil {
			raw = fmt.Append(nil, v)
		}
		s = string(raw)
	}
	if len(s) > MaxKey || !utf8.ValidString(s) {
		h := fnv.New128a()
		h.Write([]byte(s))
		return strings.ToValidUTF8(s[:min(len(s), MaxKey-33)], "") + "#" + fmt.Sprintf("%x", h.Sum(nil))
	}
	return s
}

// Short is the beginning of a value's text, for errors.
func Short(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v[:min(len(v), 40)])
	case nil, bool, int64, uint64, float64:
		return fmt.Sprint(v)
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	case []byte:
		return "bytes"
	}
	return fmt.Sprintf("%.40s", fmt.Sprint(v))
}
