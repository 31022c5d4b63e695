package cloudevents

import (
	"errors"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
)

// ErrUnsupported is wrapped by errors of FromHTTP about an event format that is not JSON: the
// answer is 415 then, and 400 for other errors.
var ErrUnsupported = errors.New("cloudevents: the event format is not supported: use application/cloudevents+json, application/cloudevents-batch+json or binary mode")

// prefix of the headers of attributes.
const prefix = "Ce-"

// FromHTTP reads the events of a request or response in the mode that its headers say:
// structured, batched or binary. It does not keep body.
func (r *Reader) FromHTTP(h http.Header, body []byte) ([]pipeline.Event, error) {
	kind, params, err := mediaType(h)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(kind, "application/cloudevents") {
		if c := params["charset"]; c != "" && !strings.EqualFold(c, "utf-8") {
			return nil, wrong("", "the charset %.40q is not UTF-8", c)
		}
	}
	switch {
	case kind == ContentType:
		e, err := r.Decode(body)
		if err != nil {
			return nil, err
		}
		return []pipeline.Event{e}, nil
	case kind == BatchContentType:
		return r.DecodeBatch(body)
	case strings.HasPrefix(kind, "application/cloudevents"):
		return nil, ErrUnsupported
	}
	e, err := r.binary(h, body)
	if err != nil {
		return nil, err
	}
	return []pipeline.Event{e}, nil
}

// FromHTTP is Reader.FromHTTP for a single request.
func FromHTTP(h http.Header, body []byte) ([]pipeline.Event, error) {
	return new(Reader).FromHTTP(h, body)
}

func mediaType(h http.Header) (kind string, params map[string]string, err error) {
	v := h.Get("Content-Type")
	if v == "" {
		return "", nil, nil
	}
	if kind, params, err = mime.ParseMediaType(v); err != nil {
		return "", nil, wrong("", "the Content-Type %.60q is malformed", v)
	}
	return kind, params, nil
}

// IsEvent says whether the headers are those of a CloudEvent in any mode.
func IsEvent(h http.Header) bool {
	kind, _, _ := mediaType(h)
	return h.Get("Ce-Specversion") != "" || strings.HasPrefix(kind, "application/cloudevents")
}

func (r *Reader) binary(h http.Header, body []byte) (pipeline.Event, error) {
	var e pipeline.Event
	if h.Get("Ce-Specversion") != SpecVersion {
		return e, wrong("specversion", "the header ce-specversion must be %s, or Content-Type %s", SpecVersion, ContentType)
	}
	for name, values := range h {
		if !strings.HasPrefix(name, prefix) || name == "Ce-Specversion" {
			continue
		}
		name = strings.ToLower(name[len(prefix):])
		if name == "datacontenttype" || name == "data" {
			return pipeline.Event{}, wrong(name, "it is not a header: use Content-Type and the body")
		}
		if len(values) != 1 {
			return pipeline.Event{}, wrong(name, "the header is there %d times", len(values))
		}
		text, err := headerText(values[0])
		if err != nil {
			return pipeline.Event{}, wrong(name, "%s", err.Error())
		}
		if err := set(&e, name, text); err != nil {
			return pipeline.Event{}, err
		}
	}
	if err := r.body(&e, h.Get("Content-Type"), body); err != nil {
		return pipeline.Event{}, err
	}
	return e, Validate(&e)
}

// body reads the body: JSON is decoded, text becomes a text, others stay bytes.
func (r *Reader) body(e *pipeline.Event, contentType string, body []byte) (err error) {
	if len(body) == 0 {
		return nil
	}
	if isJSON(contentType) {
		e.Data, err = r.json.Decode(body)
		return err
	}
	e.Data = append([]byte{}, body...)
	if contentType == "" {
		return nil
	}
	if strings.HasPrefix(contentType, "text/") && utf8.Valid(body) {
		e.Data = string(body)
	}
	return set(e, "datacontenttype", contentType)
}

// headerText reads the value of a header: first quotes as in RFC 7230, then percents.
func headerText(s string) (string, error) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = unquote(s[1 : len(s)-1])
	}
	if !strings.Contains(s, "%") {
		return s, nil
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b = append(b, s[i])
			continue
		}
		if i+2 >= len(s) {
			return "", errors.New("a percent sign is not followed by two digits")
		}
		n, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
		if err != nil {
			return "", errors.New("a percent sign is not followed by two digits")
		}
		b = append(b, byte(n))
		i += 2
	}
	if !utf8.Valid(b) {
		return "", errors.New("the bytes after percent signs are not UTF-8")
	}
	return string(b), nil
}

func unquote(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b = append(b, s[i])
	}
	return string(b)
}

// headerValue writes a text for a header: space, quote, percent and what is not printable ASCII
// get percents.
func headerValue(s string) string {
	const hex = "0123456789ABCDEF"
	plain := true
	for i := range len(s) {
		plain = plain && s[i] > ' ' && s[i] < 0x7f && s[i] != '"' && s[i] != '%'
	}
	if plain {
		return s
	}
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' {
			b = append(b, c)
		} else {
			b = append(b, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(b)
}

// ToHTTP writes an event in binary mode: it sets headers and returns the body, nil without
// data. Texts and bytes without a datacontenttype are JSON and application/octet-stream.
func ToHTTP(h http.Header, e *pipeline.Event) (body []byte, err error) {
	if err := Validate(e); err != nil {
		return nil, err
	}
	kind := e.Extensions["datacontenttype"]
	switch data := e.Data.(type) {
	case nil:
	case []byte:
		if body = data; kind == "" {
			kind = "application/octet-stream"
		}
	case string:
		if strings.HasPrefix(kind, "text/") {
			body = []byte(data)
			break
		}
		body, err = codec.AppendJSON(nil, data)
	default:
		body, err = codec.AppendJSON(nil, data)
	}
	if err != nil {
		return nil, err
	}
	if kind == "" && e.Data != nil {
		kind = "application/json"
	}
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	h.Set("Ce-Specversion", SpecVersion)
	h.Set("Ce-Id", headerValue(e.ID))
	h.Set("Ce-Source", headerValue(e.Source))
	h.Set("Ce-Type", headerValue(e.Type))
	if e.Subject != "" {
		h.Set("Ce-Subject", headerValue(e.Subject))
	}
	if !e.Time.IsZero() {
		h.Set("Ce-Time", e.Time.Format(time.RFC3339Nano))
	}
	for name, value := range e.Extensions {
		if name != "datacontenttype" {
			h.Set(prefix+name, headerValue(value))
		}
	}
	return body, nil
}
