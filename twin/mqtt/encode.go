package mqtt

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/edgekit/edgekit/twin"
)

// The messages that follow each update are written by hand: the same bytes as encoding/json
// writes of the messages of bus/topics, in a fifth of the time. TestEncode compares them.

// appendHeader begins a message.
func appendHeader(out []byte, id string, now time.Time) []byte {
	out = appendString(append(out, `{"event_id":`...), id)
	return strconv.AppendInt(append(out, `,"timestamp":`...), now.UnixMilli(), 10)
}

// appendResult appends a topics.TwinUpdateMessage. stale says which actual values are.
func appendResult(out []byte, id string, now time.Time, twins map[string]*twin.Twin, stale func(name string) bool) []byte {
	out = append(appendHeader(out, id, now), `,"twin":`...)
	return append(appendObject(out, twins, func(out []byte, name string, t *twin.Twin) []byte {
		return appendTwin(out, t, t != nil && t.Actual != nil && stale(name))
	}), '}')
}

// appendDocument appends a topics.TwinDocumentMessage.
func appendDocument(out []byte, id string, now time.Time, twins map[string]twin.Transition) []byte {
	out = append(appendHeader(out, id, now), `,"twin":`...)
	return append(appendObject(out, twins, func(out []byte, _ string, t twin.Transition) []byte {
		out = append(appendTwin(append(out, `{"last":`...), t.Last, false), `,"current":`...)
		return append(appendTwin(out, t.Current, false), '}')
	}), '}')
}

// appendDelta appends a topics.TwinDeltaMessage.
func appendDelta(out []byte, id string, now time.Time, d twin.Delta) []byte {
	out = append(appendHeader(out, id, now), `,"twin":`...)
	out = appendObject(out, d.Twins, func(out []byte, _ string, t twin.Twin) []byte { return appendTwin(out, &t, false) })
	out = append(out, `,"delta":`...)
	out = appendObject(out, d.Values, func(out []byte, _, value string) []byte { return appendString(out, value) })
	return append(out, '}')
}

// appendObject appends a JSON object with the keys of m in order. value appends one value.
func appendObject[V any](out []byte, m map[string]V, value func(out []byte, key string, v V) []byte) []byte {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	if len(keys) > 1 { // one, the usual number, needs no sort
		slices.Sort(keys)
	}
	out = append(out, '{')
	for i, key := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = value(append(appendString(out, key), ':'), key, m[key])
	}
	return append(out, '}')
}

// appendTwin appends a twin as clients see it: without versions.
func appendTwin(out []byte, t *twin.Twin, stale bool) []byte {
	if t == nil || t.Deleted {
		return append(out, "null"...)
	}
	out = append(out, '{')
	if t.Expected != nil {
		out = append(appendValue(append(out, `"expected":`...), t.Expected, false), ',')
	}
	if t.Actual != nil {
		out = append(appendValue(append(out, `"actual":`...), t.Actual, stale), ',')
	}
	out = strconv.AppendBool(append(out, `"optional":`...), t.Optional)
	if t.Type == "" {
		return append(out, `,"metadata":{}}`...)
	}
	return append(appendString(append(out, `,"metadata":{"type":`...), t.Type), `}}`...)
}

func appendValue(out []byte, v *twin.Value, stale bool) []byte {
	out = append(appendString(append(out, `{"value":`...), v.Value), `,"metadata":{`...)
	begin := len(out)
	if v.Time != 0 {
		out = append(strconv.AppendInt(append(out, `"timestamp":`...), v.Time, 10), ',')
	}
	if v.Measured != 0 {
		out = append(strconv.AppendInt(append(out, `"measured":`...), v.Measured, 10), ',')
	}
	switch {
	case stale:
		out = append(out, `"quality":"stale",`...)
	case v.Fault != "":
		out = append(out, `"quality":"bad",`...)
	}
	if v.Fault != "" {
		out = append(appendString(append(out, `"fault":`...), v.Fault), ',')
	}
	if len(out) > begin {
		out = out[:len(out)-1] // the last comma
	}
	return append(out, `}}`...)
}

// appendString appends a JSON string. Text with characters that JSON escapes is left to
// encoding/json.
func appendString(out []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			raw, err := json.Marshal(s)
			if err != nil { // a string always has a JSON form
				return append(out, `""`...)
			}
			return append(out, raw...)
		}
	}
	return append(append(append(out, '"'), s...), '"')
}
