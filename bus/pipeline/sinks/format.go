package sinks

import (
	"errors"
	"maps"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/codec"
)

// appendCloudEvent appends an event as a CloudEvent in JSON, with the extension resend if it may
// have been sent before.
func appendCloudEvent(dst []byte, e *pipeline.Event) ([]byte, error) {
	if !e.Resend {
		return cloudevents.AppendJSON(dst, e)
	}
	marked := *e
	marked.Extensions = maps.Clone(e.Extensions)
	if marked.Extensions == nil {
		marked.Extensions = make(map[string]string, 1)
	}
	marked.Extensions["resend"] = "true"
	return cloudevents.AppendJSON(dst, &marked)
}

// appendBatch appends events as a batch of CloudEvents in JSON. An event that cannot be written
// is refused with its index.
func appendBatch(dst []byte, events []pipeline.Event) ([]byte, error) {
	dst = append(dst, '[')
	for i := range events {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendCloudEvent(dst, &events[i]); err != nil {
			return nil, refused(i, err)
		}
	}
	return append(dst, ']'), nil
}

// appendLines appends one line of JSON for each event: its data, or all of it.
func appendLines(dst []byte, events []pipeline.Event, one func([]byte, *pipeline.Event) ([]byte, error)) ([]byte, error) {
	for i := range events {
		var err error
		if dst, err = one(dst, &events[i]); err != nil {
			return nil, refused(i, err)
		}
		dst = append(dst, '\n')
	}
	return dst, nil
}

func appendData(dst []byte, e *pipeline.Event) ([]byte, error) { return codec.AppendJSON(dst, e.Data) }

// sendable makes the body of as many events as can be written. If one cannot, body is that of
// those before it, and after is the error for when they were sent.
func sendable(events []pipeline.Event, body func([]pipeline.Event) ([]byte, error)) (b []byte, n int, after error, err error) {
	b, err = body(events)
	one, ok := errors.AsType[*pipeline.RefusedError](err)
	if !ok {
		return b, len(events), nil, err
	}
	b, err = body(events[:one.Index])
	return b, one.Index, one, err
}
