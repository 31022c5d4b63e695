package httpapi

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/edgekit/edgekit/twin"
)

// Prefix is what all paths of the API begin with.
const Prefix = "/twin/v1/"

// Action is what a request does with a device.
type Action string

// The actions.
const (
	Read Action = "read" // get, list, watch and history
	Set  Action = "set"  // set desired values
)

// ErrUnauthenticated is what Config.Authorize wraps when it does not know who asks: the
// answer is then 401 and not 403.
var ErrUnauthenticated = errors.New("the request has no valid credentials")

// Config sets up a Handler. Engine and Authorize are required.
type Config struct {
	Engine *twin.Engine
	// Authorize returns an error when whoever makes the request may not do that with the
	// device (namespace/name). A client gets the error's text. It is called by several
	// goroutines at once. Anyone is for a listener that only trusted programs reach.
	Authorize func(r *http.Request, device string, action Action) error
	// Client names who makes the request, for the limits. nil means the IP address.
	Client      func(r *http.Request) string
	MaxRequests int              // of one client at a time; 0 means 32
	MaxWatches  int              // of one client at a time; 0 means 16
	Logger      *slog.Logger     // nil discards
	Now         func() time.Time // for the quality of values; nil means time.Now
}

// Anyone is a Config.Authorize that allows everything.
func Anyone(*http.Request, string, Action) error { return nil }

// Handler serves the API. It is an http.Handler and may be used by several servers at once.
type Handler struct {
	cfg      Config
	mux      *http.ServeMux
	requests gate
	watches  gate
}

// New checks cfg and allocates a Handler.
func New(cfg Config) (*Handler, error) {
	switch {
	case cfg.Engine == nil:
		return nil, errors.New("twin/httpapi: Config.Engine is required")
	case cfg.Authorize == nil:
		return nil, errors.New("twin/httpapi: Config.Authorize is required; httpapi.Anyone allows everything")
	case cfg.MaxRequests < 0 || cfg.MaxWatches < 0:
		return nil, errors.New("twin/httpapi: Config.MaxRequests and MaxWatches must not be negative; 0 is the default")
	}
	if cfg.MaxRequests == 0 {
		cfg.MaxRequests = 32
	}
	if cfg.MaxWatches == 0 {
		cfg.MaxWatches = 16
	}
	if cfg.Client == nil {
		cfg.Client = address
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	h := &Handler{cfg: cfg, mux: http.NewServeMux(), requests: gate{most: cfg.MaxRequests}, watches: gate{most: cfg.MaxWatches}}
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET " + Prefix + "devices":                                             h.list,
		"GET " + Prefix + "devices/{namespace}/{name}":                          h.device,
		"GET " + Prefix + "devices/{namespace}/{name}/properties/{property...}": h.property,
		"PUT " + Prefix + "devices/{namespace}/{name}/desired":                  h.desire,
		"GET " + Prefix + "devices/{namespace}/{name}/history":                  h.history,
		Prefix: notFound,
	} {
		h.mux.HandleFunc(pattern, h.limited(&h.requests, serve))
	}
	h.mux.HandleFunc("GET "+Prefix+"watch", h.limited(&h.watches, h.watch))
	return h, nil
}

// ServeHTTP answers one request. It blocks during a watch, until the request's context or the
// engine ends.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// limited serves within the limits of a gate.
func (h *Handler) limited(g *gate, serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		client := h.cfg.Client(r)
		if !g.enter(client) {
			h.fail(w, r, &twin.Error{Code: http.StatusTooManyRequests, Reason: fmt.Sprintf("%.80s has %d requests of this kind under way, or all clients four times that: try again later", client, g.most)})
			return
		}
		defer g.leave(client)
		if err := serve(w, r); err != nil {
			h.fail(w, r, err)
		}
	}
}

// authorize asks Config.Authorize.
func (h *Handler) authorize(r *http.Request, device string, action Action) error {
	err := h.cfg.Authorize(r, device, action)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrUnauthenticated):
		return &twin.Error{Code: http.StatusUnauthorized, Reason: err.Error()}
	}
	return &twin.Error{Code: http.StatusForbidden, Reason: err.Error()}
}

func notFound(_ http.ResponseWriter, r *http.Request) error {
	return &twin.Error{Code: http.StatusNotFound, Reason: fmt.Sprintf("%s %.200q is none of the API: see the documentation of twin/httpapi", r.Method, r.URL.Path)}
}

// address is the IP address that a request comes from.
func address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// gate bounds what is under way, of each client and of all.
type gate struct {
	most int

	mu  sync.Mutex
	now map[string]int
	all int
}

func (g *gate) enter(client string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.now[client] >= g.most || g.all >= 4*g.most {
		return false
	}
	if g.now == nil {
		g.now = make(map[string]int)
	}
	g.now[client]++
	g.all++
	return true
}

func (g *gate) leave(client string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.all--
	if g.now[client]--; g.now[client] == 0 {
		delete(g.now, client)
	}
}
