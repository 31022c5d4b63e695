package tracing

import (
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/edgekit/edgekit/hub"
)

// maxOpen bounds the spans of objects on their way.
const maxOpen = 1024

// sends are the spans of objects on their way to the peer: from when they are read until the peer has them.
type sends struct {
	t *Tracer

	mu  *sync.Mutex
	all map[hub.Key]openSend
}

// openSend is one of them.
type openSend struct {
	span    trace.Span
	parent  trace.SpanContext
	version string
	trace   string
}

func newSends(t *Tracer) sends {
	return sends{t: t, mu: new(sync.Mutex), all: make(map[hub.Key]openSend)}
}

// begin begins the span of an object and returns its traceparent, "" if there are too many. An earlier span
// of the object ends: its version is not sent any more, or is sent again.
func (s sends) begin(key hub.Key, version string, parent trace.SpanContext, name string, at time.Time, attributes []attribute.KeyValue) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, there := s.all[key]; there {
		was.span.SetAttributes(attribute.Bool("edgekit.superseded", true))
		was.span.End()
		delete(s.all, key)
	}
	if len(s.all) >= maxOpen {
		return ""
	}
	span := s.t.start(parent, name, at, attributes...)
	o := openSend{span: span, parent: parent, version: version, trace: traceparent(span.SpanContext())}
	if o.trace != "" {
		s.all[key] = o
	}
	return o.trace
}

// again returns the traceparent of an object that is sent again, "" if it is not on its way in this version.
func (s sends) again(key hub.Key, version string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was, there := s.all[key]; there && was.version == version {
		return was.trace
	}
	return ""
}

// end ends the span with that traceparent.
func (s sends) end(key hub.Key, parent string, err error) {
	s.mu.Lock()
	was, there := s.all[key]
	if there = there && was.trace == parent; there {
		delete(s.all, key)
	}
	s.mu.Unlock()
	if there {
		end(was.span, err)
	}
}

// interrupt ends all spans, because the link has ended, and returns what was on its way.
func (s sends) interrupt() map[hub.Key]openSend {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[hub.Key]openSend, len(s.all))
	for key, o := range s.all {
		o.span.SetAttributes(attribute.Bool("edgekit.interrupted", true))
		o.span.End()
		all[key] = o
	}
	clear(s.all)
	return all
}
