package sources

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/internal/compress"
)

// Bounds of the HTTP port.
const (
	maxRequests = 64 // at once
	maxEvents   = 10_000
	safeTimeout = 30 * time.Second
	listenRetry = 10 * time.Second
)

// HTTPConfig sets up HTTP.
type HTTPConfig struct {
	Address string       // a loopback address with a port; empty means 127.0.0.1:9062
	Logger  *slog.Logger // nil discards
}

// HTTP is a local port for sources of kind http. It listens while Run runs, and answers 404
// for paths that no source has.
type HTTP struct {
	cfg     HTTPConfig
	started atomic.Bool
	places  chan struct{}

	mu    sync.Mutex
	paths map[string]http.Handler
	addr  net.Addr
}

var _ pipeline.Handlers = (*HTTP)(nil)

// NewHTTP checks cfg and allocates an HTTP.
func NewHTTP(cfg HTTPConfig) (*HTTP, error) {
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:9062"
	}
	host, _, err := net.SplitHostPort(cfg.Address)
	if err != nil || !loopback(host) {
		return nil, fmt.Errorf("bus/pipeline/sources: HTTPConfig.Address is %.100q: use a loopback address with a port, such as 127.0.0.1:9062: everybody who reaches it may send events", cfg.Address)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &HTTP{cfg: cfg, places: make(chan struct{}, maxRequests), paths: make(map[string]http.Handler)}, nil
}

// loopback reports whether a host is this machine by a loopback address.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && ip.Unmap().IsLoopback()
}

// Handle serves a path until stop is called; see pipeline.Handlers.
func (h *HTTP) Handle(path string, handler http.Handler) (stop func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.paths[path] != nil {
		return nil, fmt.Errorf("bus/pipeline/sources: another source has the path %.255q: use another one", path)
	}
	h.paths[path] = handler
	return sync.OnceFunc(func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.paths, path)
	}), nil
}

// Addr is where HTTP listens; nil while it does not.
func (h *HTTP) Addr() net.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.addr
}

// Run listens until ctx ends, then returns nil. A port that is taken is tried again and again.
// A second call returns bus.ErrStarted.
func (h *HTTP) Run(ctx context.Context) error {
	if h.started.Swap(true) {
		return bus.ErrStarted
	}
	for ctx.Err() == nil {
		if err := h.serve(ctx); err != nil && ctx.Err() == nil {
			h.cfg.Logger.Error("programs on the node cannot reach pipelines; trying again", "address", h.cfg.Address, "err", err)
			select {
			case <-time.After(listenRetry):
			case <-ctx.Done():
			}
		}
	}
	return nil
}

func (h *HTTP) serve(ctx context.Context) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", h.cfg.Address)
	if err != nil {
		return err
	}
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: safeTimeout, WriteTimeout: 2 * safeTimeout, IdleTimeout: safeTimeout, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return serving }, ErrorLog: slog.NewLogLogger(h.cfg.Logger.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	h.setAddr(listener.Addr())
	err = server.Serve(listener)
	h.setAddr(nil)
	cancel()
	for range cap(h.places) { // the requests under way
		h.places <- struct{}{}
	}
	for range cap(h.places) {
		<-h.places
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (h *HTTP) setAddr(a net.Addr) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addr = a
}

// ServeHTTP answers a program on the node.
func (h *HTTP) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case h.places <- struct{}{}:
		defer func() { <-h.places }()
	default:
		answer(w, http.StatusServiceUnavailable, "as many requests are served as may be: try again")
		return
	}
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if !loopback(host) || r.Header.Get("Origin") != "" {
		// A web page could otherwise have a browser on this machine send events.
		answer(w, http.StatusForbidden, "only programs on this machine may send events, to a loopback address and not from a web page")
		return
	}
	h.mu.Lock()
	handler := h.paths[r.URL.Path]
	h.mu.Unlock()
	if handler == nil {
		answer(w, http.StatusNotFound, "no pipeline on this node has a source with this path")
		return
	}
	handler.ServeHTTP(w, r)
}

// answer writes a status with a line of text.
func answer(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text+"\n") // the caller is gone if this fails
}

// httpSource emits the bodies of requests, or the CloudEvents in them. It answers 204 when they
// are safe.
type httpSource struct{ common }

func (s *httpSource) Run(ctx context.Context, emit pipeline.Emit) error {
	var active sync.RWMutex // held by the requests under way
	stop, err := s.env.HTTP.Handle(s.spec.HTTP.Path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !active.TryRLock() {
			answer(w, http.StatusServiceUnavailable, errStopped.Error())
			return
		}
		defer active.RUnlock()
		s.accept(ctx, w, r, emit)
	}))
	if err != nil {
		return s.ended(ctx, "http", err)
	}
	<-ctx.Done()
	stop()
	active.Lock() // for good
	return nil
}

// accept answers one request.
func (s *httpSource) accept(ctx context.Context, w http.ResponseWriter, r *http.Request, emit pipeline.Emit) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		answer(w, http.StatusMethodNotAllowed, "send events with POST")
		return
	}
	kind := compress.Kind(strings.ToLower(r.Header.Get("Content-Encoding")))
	if kind != "" && kind != compress.Zstd && kind != compress.Gzip {
		answer(w, http.StatusUnsupportedMediaType, "Content-Encoding must be gzip or zstd, or none")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, pipeline.MaxEvent))
	if err == nil {
		body, err = compress.Decode(kind, body, pipeline.MaxEvent)
	}
	if _, large := errors.AsType[*http.MaxBytesError](err); large || errors.Is(err, compress.ErrTooLarge) {
		answer(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a request has at most %d bytes", pipeline.MaxEvent))
		return
	}
	if err != nil {
		answer(w, http.StatusBadRequest, "the body did not arrive whole")
		return
	}
	events, err := s.events(r.Header, body)
	if err != nil {
		answer(w, http.StatusBadRequest, err.Error())
		return
	}
	waiting, cancel := context.WithTimeout(r.Context(), safeTimeout)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	safe := make(chan struct{})
	err = emit(waiting, events, sync.OnceFunc(func() { close(safe) }))
	if err == nil {
		select {
		case <-safe:
			w.WriteHeader(http.StatusNoContent)
			return
		case <-waiting.Done():
		}
	}
	answer(w, http.StatusServiceUnavailable, "the events are not safe yet: send them again with the same ids")
}

// events makes the events of a request: its CloudEvents, or one with the body. An event without
// an id of the sender's is another one each time it is sent.
func (s *httpSource) events(h http.Header, body []byte) ([]pipeline.Event, error) {
	if cloudevents.IsEvent(h) {
		events, err := cloudevents.FromHTTP(h, body)
		if err != nil {
			return nil, err
		}
		if len(events) > maxEvents {
			return nil, fmt.Errorf("the request has %d events: send at most %d", len(events), maxEvents)
		}
		for i := range events {
			events[i].Resend = true // the sender may not have seen the answer
			if events[i].Time.IsZero() {
				events[i].Time = s.env.Clock.Now()
			}
		}
		return events, nil
	}
	e := pipeline.Event{ID: rand.Text(), Source: s.origin, Type: TypeHTTP, Subject: s.spec.HTTP.Path, Time: s.env.Clock.Now(), Data: append([]byte{}, body...)}
	if t := h.Get("Content-Type"); t != "" && len(t) <= 256 {
		e.Extensions = map[string]string{"contenttype": strings.ToValidUTF8(t, "")}
	}
	return []pipeline.Event{e}, nil
}
