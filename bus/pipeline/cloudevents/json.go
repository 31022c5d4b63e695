package cloudevents

import (
	"encoding/base64"
	"errors"
	"maps"
	"math"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
)

// Media types of the JSON event format.
const (
	ContentType      = "application/cloudevents+json"
	BatchContentType = "application/cloudevents-batch+json"
)

// AppendJSON appends an event in the JSON event format. The same event is the same text.
func AppendJSON(dst []byte, e *pipeline.Event) ([]byte, error) {
	if err := Validate(e); err != nil {
		return nil, err
	}
	b := append(dst, `{"specversion":"1.0"`...)
	b = appendAttribute(b, "id", e.ID)
	b = appendAttribute(b, "source", e.Source)
	b = appendAttribute(b, "type", e.Type)
	if e.Subject != "" {
		b = appendAttribute(b, "subject", e.Subject)
	}
	if !e.Time.IsZero() {
		b = appendAttribute(b, "time", e.Time.Format(time.RFC3339Nano))
	}
	for _, name := range slices.Sorted(maps.Keys(e.Extensions)) {
		b = appendAttribute(b, name, e.Extensions[name])
	}
	var err error
	switch data := e.Data.(type) {
	case nil:
	case []byte:
		if b = append(b, `,"data_base64":"`...); len(data) > 0 {
			b = base64.StdEncoding.AppendEncode(b, data)
		}
		b = append(b, '"')
	default:
		if b, err = codec.AppendJSON(append(b, `,"data":`...), data); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendAttribute(dst []byte, name, value string) []byte {
	dst = append(dst, `,"`...)
	dst = append(dst, name...)
	dst = append(dst, `":`...)
	dst, _ = codec.AppendJSON(dst, value) // of a text there is no error
	return dst
}

// AppendBatch appends events in the JSON batch format. An error names the first event that
// cannot be written.
func AppendBatch(dst []byte, events []pipeline.Event) ([]byte, error) {
	dst = append(dst, '[')
	for i := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = AppendJSON(dst, &events[i]); err != nil {
			return nil, at(i, err)
		}
	}
	return append(dst, ']'), nil
}

// at puts the index of an event into an error.
func at(i int, err error) error {
	var a *AttributeError
	if errors.As(err, &a) {
		return &AttributeError{Index: i, Attribute: a.Attribute, Reason: a.Reason}
	}
	return err
}

// A Reader reads events. It remembers the names of fields, as codec.JSON does: whoever reads
// many events keeps one. The zero value is ready for use. Several goroutines may use one Reader
// at once, and must not copy it.
type Reader struct{ json codec.JSON }

// Decode reads one event in the JSON event format.
func (r *Reader) Decode(b []byte) (pipeline.Event, error) {
	v, err := r.json.Decode(b)
	if err != nil {
		return pipeline.Event{}, err
	}
	return r.event(v)
}

// shortest is the length of the shortest event as JSON.
const shortest = len(`{"specversion":"1.0","id":"1","source":"a","type":"t"}`)

// DecodeBatch reads events in the JSON batch format. A batch is refused as a whole.
func (r *Reader) DecodeBatch(b []byte) ([]pipeline.Event, error) {
	v, err := r.json.Decode(b)
	if err != nil {
		return nil, err
	}
	list, ok := v.([]any)
	if !ok {
		return nil, wrong("", "a batch must be a list of events")
	}
	events := make([]pipeline.Event, 0, min(len(list), len(b)/shortest)) // the elements may be no events
	for i := range list {
		e, err := r.event(list[i])
		if err != nil {
			return nil, at(i, err)
		}
		events = append(events, e)
	}
	return events, nil
}

// Decode is Reader.Decode for a single event.
func Decode(b []byte) (pipeline.Event, error) { return new(Reader).Decode(b) }

// DecodeBatch is Reader.DecodeBatch for a single batch.
func DecodeBatch(b []byte) ([]pipeline.Event, error) { return new(Reader).DecodeBatch(b) }

// event makes an event of a JSON value.
func (r *Reader) event(v any) (pipeline.Event, error) {
	m, ok := v.(map[string]any)
	if !ok {
		return pipeline.Event{}, wrong("", "an event must be an object")
	}
	var e pipeline.Event
	if m["specversion"] != SpecVersion {
		return e, wrong("specversion", "it must be %q", SpecVersion)
	}
	for name, value := range m {
		if name == "data" || name == "data_base64" || name == "specversion" || value == nil {
			continue
		}
		text, err := attribute(name, value)
		if err != nil {
			return pipeline.Event{}, err
		}
		if err := set(&e, name, text); err != nil {
			return pipeline.Event{}, err
		}
	}
	if err := r.data(&e, m); err != nil {
		return pipeline.Event{}, err
	}
	return e, Validate(&e)
}

// attribute is the text of an attribute's value.
func attribute(name string, v any) (string, error) {
	switch v := v.(type) {
	case string:
		return v, nil
	case bool:
		if !reserved[name] {
			return strconv.FormatBool(v), nil
		}
	case float64:
		if !reserved[name] && v == math.Trunc(v) && v >= math.MinInt32 && v <= math.MaxInt32 {
			return strconv.FormatInt(int64(v), 10), nil
		}
		if !reserved[name] {
			return "", wrong(name, "a number must be whole and have at most 32 bits")
		}
	}
	if reserved[name] {
		return "", wrong(name, "it must be a text")
	}
	return "", wrong(name, "it must be a text, a bool or a whole number")
}

// set sets an attribute by its name.
func set(e *pipeline.Event, name, value string) (err error) {
	switch name {
	case "id":
		e.ID = value
	case "source":
		e.Source = value
	case "type":
		e.Type = value
	case "subject":
		if e.Subject = value; value == "" {
			return wrong(name, "it may not be empty: leave it out")
		}
	case "time":
		e.Time, err = parseTime(value)
	default:
		if err := validExtension(name, value); err != nil {
			return err
		}
		if e.Extensions == nil {
			e.Extensions = map[string]string{}
		}
		e.Extensions[name] = value
	}
	return err
}

// data reads data or data_base64. A datacontenttype that says JSON is not kept.
func (r *Reader) data(e *pipeline.Event, m map[string]any) error {
	kind := e.Extensions["datacontenttype"]
	json := kind == "" || isJSON(kind)
	if json && kind != "" {
		if delete(e.Extensions, "datacontenttype"); len(e.Extensions) == 0 {
			e.Extensions = nil
		}
	}
	coded, isCoded := m["data_base64"]
	if !isCoded || coded == nil {
		e.Data = m["data"]
		return nil
	}
	if m["data"] != nil {
		return wrong("data_base64", "data and data_base64 exclude each other")
	}
	text, ok := coded.(string)
	if !ok {
		return wrong("data_base64", "it must be a text")
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return wrong("data_base64", "it is not base64")
	}
	if e.Data = b; json && kind != "" {
		e.Data, err = r.json.Decode(b)
	}
	return err
}

// isJSON says whether a media type is JSON.
func isJSON(contentType string) bool {
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	_, sub, _ := strings.Cut(kind, "/")
	return sub == "json" || strings.HasSuffix(sub, "+json")
}
