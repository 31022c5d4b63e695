package wire

import (
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// Bounds of a Batch.
const (
	MaxBody = 3 << 20 // bytes as they travel; a message of the link has at most 4 MiB
	MaxURL  = 2048
	// MaxEvents is how many events a Batch may say that it has.
	MaxEvents = 10_000
	// MaxInflated is how many bytes a Batch has at most without compression.
	MaxInflated = 32 << 20
)

// Batch is CloudEvents on their way to a URL: one in CloudEvents' JSON form if Events is 1, else
// a JSON list of them.
type Batch struct {
	Sink     string // of the Pipeline
	URL      string // where the sink sends; it counts only if the Pipeline has it so
	Encoding string // of Body: "" or "gzip"
	Events   int    // in Body
	Body     []byte
}

// The fields of an encoded Batch. Numbers are not used again.
const (
	fieldSink = iota + 1
	fieldURL
	fieldEncoding
	fieldEvents
	_
	fieldBody
)

// Encode returns b as bytes.
func (b *Batch) Encode() []byte {
	out := make([]byte, 0, len(b.Body)+len(b.Sink)+len(b.URL)+48)
	text := func(field protowire.Number, s string) {
		if s != "" {
			out = protowire.AppendString(protowire.AppendTag(out, field, protowire.BytesType), s)
		}
	}
	text(fieldSink, b.Sink)
	text(fieldURL, b.URL)
	text(fieldEncoding, b.Encoding)
	out = protowire.AppendVarint(protowire.AppendTag(out, fieldEvents, protowire.VarintType), uint64(max(0, b.Events)))
	return protowire.AppendBytes(protowire.AppendTag(out, fieldBody, protowire.BytesType), b.Body)
}

// errBatch is why bytes are no Batch.
var errBatch = errors.New("pipeline/wire: no batch of events")

// DecodeBatch reads what Encode wrote. Body is a part of raw. Unknown fields, of a newer
// release, are skipped.
func DecodeBatch(raw []byte) (Batch, error) {
	var b Batch
	for len(raw) > 0 {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return Batch{}, fmt.Errorf("%w: %w", errBatch, protowire.ParseError(n))
		}
		raw = raw[n:]
		n, err := b.set(field, kind, raw)
		if err != nil {
			return Batch{}, err
		}
		if n < 0 {
			return Batch{}, fmt.Errorf("%w: %w", errBatch, protowire.ParseError(n))
		}
		raw = raw[n:]
	}
	if b.Sink == "" || b.Events < 1 || len(b.Body) == 0 {
		return Batch{}, fmt.Errorf("%w: it has no sink or no events", errBatch)
	}
	return b, nil
}

// set reads the value of one field from the beginning of raw and returns its length.
func (b *Batch) set(field protowire.Number, kind protowire.Type, raw []byte) (int, error) {
	switch {
	case kind == protowire.VarintType && field == fieldEvents:
		v, n := protowire.ConsumeVarint(raw)
		if n >= 0 && v > MaxEvents {
			return 0, fmt.Errorf("%w: %d events are over %d", errBatch, v, MaxEvents)
		}
		b.Events = int(v)
		return n, nil
	case kind != protowire.BytesType || field > fieldBody:
		return protowire.ConsumeFieldValue(field, kind, raw), nil
	}
	v, n := protowire.ConsumeBytes(raw)
	if n < 0 {
		return n, nil
	}
	if field == fieldBody {
		if len(v) > MaxBody {
			return 0, fmt.Errorf("%w: %d bytes are over %d", errBatch, len(v), MaxBody)
		}
		b.Body = v
		return n, nil
	}
	if len(v) > MaxURL || !utf8.Valid(v) {
		return 0, fmt.Errorf("%w: a text of %d bytes is too long or not UTF-8", errBatch, len(v))
	}
	switch field {
	case fieldSink:
		b.Sink = string(v)
	case fieldURL:
		b.URL = string(v)
	case fieldEncoding:
		if b.Encoding = string(v); b.Encoding != "" && b.Encoding != "gzip" {
			return 0, fmt.Errorf("%w: encoding %.20q", errBatch, b.Encoding)
		}
	}
	return n, nil
}

// RefusedStatus reports whether a receiver's HTTP status says that it will never take the event:
// 4xx, but those that pass, and those that an operator mends at the other side (a credential or an
// address that is not right yet).
func RefusedStatus(code int) bool {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return code/100 == 4
}
