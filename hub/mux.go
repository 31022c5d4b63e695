package hub

import (
	"context"
	"fmt"
	"sync"
)

// Request is a call or the opening of a stream as it reaches a handler.
type Request struct {
	// Node is the proven name of the session's edge. In the cloud it is the caller, on the
	// edge the node's own name.
	Node    string
	Message Message
}

// Handler answers calls. It is called by many goroutines at once; ctx ends
// with the caller's deadline, its cancel, or the session.
type Handler interface {
	// ServeCall returns the response, of which only Version and Body are used. An error
	// that is or wraps an *Error reaches the peer unchanged; every other error reaches it as
	// CodeUnknown with its text.
	ServeCall(ctx context.Context, req Request) (Message, error)
}

// HandlerFunc makes a function a Handler.
type HandlerFunc func(ctx context.Context, req Request) (Message, error)

// ServeCall calls f.
func (f HandlerFunc) ServeCall(ctx context.Context, req Request) (Message, error) { return f(ctx, req) }

// StreamHandler serves streams that the peer opens.
type StreamHandler interface {
	// ServeStream owns s until it returns; the session then closes it. A
	// returned error is carried to the peer's side of the stream as its
	// status.
	ServeStream(ctx context.Context, req Request, s Stream) error
}

// StreamHandlerFunc makes a function a StreamHandler.
type StreamHandlerFunc func(ctx context.Context, req Request, s Stream) error

// ServeStream calls f.
func (f StreamHandlerFunc) ServeStream(ctx context.Context, req Request, s Stream) error {
	return f(ctx, req, s)
}

// Mux routes calls and streams to a handler per resource, as net/http's mux
// routes by path. The zero value is ready; all methods may be called at any
// time from several goroutines.
type Mux struct {
	mu      sync.RWMutex
	calls   map[string]Handler
	streams map[string]StreamHandler
}

// Handle registers h for the calls of a resource, for example "serviceaccounts/token". A
// second handler for one resource panics, since that is a fault of the program.
func (m *Mux) Handle(resource string, h Handler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.calls[resource]; taken {
		panic("hub: second call handler for " + resource)
	}
	if m.calls == nil {
		m.calls = make(map[string]Handler)
	}
	m.calls[resource] = h
}

// HandleStream registers h for the streams opened for a resource, for example "pods/log".
// A second handler for one resource panics.
func (m *Mux) HandleStream(resource string, h StreamHandler) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.streams[resource]; taken {
		panic("hub: second stream handler for " + resource)
	}
	if m.streams == nil {
		m.streams = make(map[string]StreamHandler)
	}
	m.streams[resource] = h
}

// ServeCall answers one call, with CodeUnsupported where no handler is set
// for its resource.
func (m *Mux) ServeCall(ctx context.Context, req Request) (Message, error) {
	m.mu.RLock()
	h := m.calls[req.Message.Key.Resource]
	m.mu.RUnlock()
	if h == nil {
		return Message{}, unsupported(req)
	}
	return h.ServeCall(ctx, req)
}

// ServeStream serves one stream, with CodeUnsupported where no handler is set
// for its resource.
func (m *Mux) ServeStream(ctx context.Context, req Request, s Stream) error {
	m.mu.RLock()
	h := m.streams[req.Message.Key.Resource]
	m.mu.RUnlock()
	if h == nil {
		return unsupported(req)
	}
	return h.ServeStream(ctx, req, s)
}

func unsupported(req Request) error {
	return &Error{Code: CodeUnsupported, Text: fmt.Sprintf("no handler for resource %q", req.Message.Key.Resource)}
}
