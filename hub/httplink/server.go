package httplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// ServerConfig sets up a Server. Only Handler is required.
type ServerConfig struct {
	Handler http.Handler // serves the requests
	// MaxHeader bounds the request line and the header together, in bytes; a
	// request over it gets status 431. 0 means 256 KiB.
	MaxHeader int
	// HeaderTimeout bounds the time until the header has arrived. 0 means 30 s.
	HeaderTimeout time.Duration
	Logger        *slog.Logger // nil discards
}

// Server serves a handler on the peer's streams. It is a hub.StreamHandler.
type Server struct{ cfg ServerConfig }

var _ hub.StreamHandler = (*Server)(nil)

// NewServer checks cfg and makes a Server.
func NewServer(cfg ServerConfig) (*Server, error) {
	switch {
	case cfg.Handler == nil:
		return nil, errors.New("httplink: ServerConfig.Handler is required")
	case cfg.MaxHeader < 0, cfg.HeaderTimeout < 0:
		return nil, errors.New("httplink: a limit in ServerConfig is negative: leave it 0 for the default")
	}
	if cfg.MaxHeader == 0 {
		cfg.MaxHeader = 256 << 10
	}
	if cfg.HeaderTimeout == 0 {
		cfg.HeaderTimeout = 30 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg}, nil
}

// ServeStream serves the one request on s and returns when the handler has
// returned and the stream is closed, which the handler of an upgraded request
// does itself. The request's context ends with ctx.
func (v *Server) ServeStream(ctx context.Context, req hub.Request, s hub.Stream) error {
	c := newConn(s, req.Node, req.Message.Key.String())
	c.served = true
	var handlers requests
	var protocols http.Protocols
	protocols.SetHTTP1(true) // by default the server of each stream would prepare for HTTP/2
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if handlers.enter() {
				defer handlers.leave()
				v.cfg.Handler.ServeHTTP(w, r)
			}
		}),
		// net/http allows 4 KiB more than MaxHeaderBytes.
		MaxHeaderBytes:    max(v.cfg.MaxHeader-4<<10, 1),
		ReadHeaderTimeout: v.cfg.HeaderTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          slog.NewLogLogger(v.cfg.Logger.Handler(), slog.LevelDebug),
		Protocols:         &protocols,
	}
	server.SetKeepAlivesEnabled(false)
	// Serve returns as soon as it has handed the stream to a goroutine.
	_ = server.Serve(&single{conn: c})
	<-c.closed
	handlers.close()
	if err := s.SetDeadline(time.Time{}); err != nil { // the session still writes the stream's status
		return fmt.Errorf("httplink: %w", err)
	}
	return nil
}

// requests counts the handlers of a stream. net/http may still start one while the stream closes,
// which a WaitGroup alone does not allow: Add would race with Wait. The zero value is ready.
// controller/internal/runguard has the same for servers, and is above this package.
type requests struct {
	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

// enter counts a handler, which calls leave when it returns. It reports false after close: the
// request is not served.
func (r *requests) enter() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.running.Add(1)
	}
	return !r.closed
}

// leave ends a handler for which enter reported true.
func (r *requests) leave() { r.running.Done() }

// close lets no further handler begin, and waits for those that run.
func (r *requests) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}

// single is a listener with one connection.
type single struct {
	conn *conn
	done bool
}

// Accept returns the connection, once.
func (l *single) Accept() (net.Conn, error) {
	if l.done {
		return nil, net.ErrClosed
	}
	l.done = true
	return l.conn, nil
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return l.conn.local }
