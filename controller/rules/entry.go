package rules

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/controller/kubeletproxy"
)

// EntryConfig sets up the port for callers. Listener is required, and Certificate unless
// Plain.
type EntryConfig struct {
	// Listener is where callers connect. Run closes it.
	Listener net.Listener
	// Certificate is the port's server certificate, asked for at each connection.
	Certificate func() (*tls.Certificate, error)
	// Plain serves HTTP without TLS. Tokens then travel unencrypted.
	Plain bool
	// ClientCA returns the PEM of the authorities of client certificates; nil reads the
	// cluster's.
	ClientCA func(context.Context) ([]byte, error)
	// MaxRequests is how many requests may be under way, MaxNodeRequests how many for one
	// node; one more gets status 503. 0 means 1024 and 64.
	MaxRequests, MaxNodeRequests int
	// Peer carries requests for nodes at other cloudcores; nil answers these with 503.
	Peer *PeerConfig
}

// entry is the port for callers.
type entry struct {
	c       *Controller
	cfg     EntryConfig
	clients *kubeletproxy.Clients
	http    *http.Server
	plain   http.RoundTripper // to other cloudcores without TLS
	places  *delivery.Places
}

func newEntry(c *Controller, cfg EntryConfig) (*entry, error) {
	switch {
	case cfg.Listener == nil:
		return nil, errors.New("controller/rules: EntryConfig.Listener is required")
	case cfg.Certificate == nil && !cfg.Plain:
		return nil, errors.New("controller/rules: EntryConfig.Certificate is required, or Plain for HTTP without TLS")
	case cfg.Peer != nil && cfg.Peer.Transport == nil:
		return nil, errors.New("controller/rules: PeerConfig.Transport is required")
	case cfg.MaxRequests < 0 || cfg.MaxNodeRequests < 0:
		return nil, errors.New("controller/rules: a limit in EntryConfig is negative: leave it 0 for the default")
	}
	if cfg.MaxRequests == 0 {
		cfg.MaxRequests = 1024
	}
	if cfg.MaxNodeRequests == 0 {
		cfg.MaxNodeRequests = 64
	}
	clients, err := kubeletproxy.NewClients(kubeletproxy.ClientsConfig{Cloud: c.cfg.Cloud, ClientCA: cfg.ClientCA, Logger: c.log})
	if err != nil {
		return nil, fmt.Errorf("controller/rules: %w", err)
	}
	e := &entry{c: c, cfg: cfg, clients: clients, places: delivery.NewPlaces(cfg.MaxRequests, cfg.MaxNodeRequests)}
	// One call for each request: no connection is used twice.
	e.plain = &http.Transport{DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, DisableKeepAlives: true, DisableCompression: true}
	e.http = &http.Server{
		Handler: e, ReadHeaderTimeout: 15 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ReadTimeout: c.cfg.Timeout + 15*time.Second, WriteTimeout: c.cfg.Timeout + 30*time.Second,
		ConnContext: clients.Remember, ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	if !cfg.Plain {
		e.http.TLSConfig = &tls.Config{
			MinVersion: tls.VersionTLS12,
			// ServeHTTP verifies the certificate, because only an HTTP answer can explain a refusal.
			ClientAuth:     tls.RequestClientCert,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cfg.Certificate() },
		}
	}
	return e, nil
}

// run serves until ctx ends.
func (e *entry) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	e.http.BaseContext = func(net.Listener) context.Context { return ctx }
	served, known := make(chan error, 1), make(chan error, 1)
	l := e.clients.Limit(e.cfg.Listener)
	go func() {
		if e.cfg.Plain {
			served <- e.http.Serve(l)
			return
		}
		served <- e.http.ServeTLS(l, "", "")
	}()
	go func() { known <- e.clients.Run(ctx) }()
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
	}
	cancel()
	closing := e.http.Close()
	if err == nil {
		err = <-served
	}
	if failed := <-known; failed != nil {
		err = failed
	}
	e.places.Close()
	switch {
	case err != nil && !errors.Is(err, http.ErrServerClosed):
		return fmt.Errorf("controller/rules: %s: %w", e.cfg.Listener.Addr(), err)
	case closing != nil && !errors.Is(closing, net.ErrClosed):
		return fmt.Errorf("controller/rules: %w", closing)
	}
	return nil
}

// ServeHTTP answers one request of a caller.
func (e *entry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	path, ok := parseRequest(req.URL.EscapedPath())
	var r *resolved
	if ok {
		r = e.c.match(path)
	}
	// Who is nobody learns nothing about rules and nodes, but for those that are open to all.
	if !r.ok() || r.source.Annotations[v1.AnnotationAnonymous] != "true" {
		user, err := e.clients.Authenticate(req)
		if err != nil {
			e.refuse(w, err)
			return
		}
		if ok && r.ok() {
			if p := e.authorize(req.Context(), user, r); p != nil {
				p.Write(w)
				return
			}
		}
	}
	switch {
	case !ok:
		wire.NewProblem(http.StatusBadRequest, wire.ReasonBadRequest, "the path must be /NODE/NAMESPACE/PATH, without empty, . and .. parts").Write(w)
		return
	case !r.ok() && !e.c.synced():
		wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonBusy, "cloudcore has not read the rules yet").Write(w)
		return
	case !r.ok():
		wire.NewProblem(http.StatusNotFound, wire.ReasonNoRule, fmt.Sprintf("no rule of namespace %s with a source rest answers this path", path.namespace)).Write(w)
		return
	}
	if e.c.cfg.Nodes != nil {
		if _, ok := e.c.cfg.Nodes.Load(cache.Name{Name: path.node}); !ok {
			wire.NewProblem(http.StatusNotFound, wire.ReasonNoNode, fmt.Sprintf("there is no edge node %s", path.node)).Write(w)
			return
		}
	}
	if !e.places.Take(path.node) {
		wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonBusy, "as many requests as may be are under way for this node, or in all").Write(w)
		return
	}
	defer e.places.Free(path.node)
	ctx, cancel := context.WithTimeout(req.Context(), e.c.cfg.Timeout)
	defer cancel()
	e.serve(w, req.WithContext(ctx), path, r)
}

// refuse answers a client that is nobody.
func (e *entry) refuse(w http.ResponseWriter, err error) {
	if errors.Is(err, kubeletproxy.ErrBusy) {
		wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonBusy, err.Error()).Write(w)
		return
	}
	w.Header().Set("WWW-Authenticate", "Bearer")
	w.Header().Set("Connection", "close")
	wire.NewProblem(http.StatusUnauthorized, wire.ReasonUnauthenticated, err.Error()).Write(w)
}

// authorize asks whether a user may use a rule: the verb create on rules/proxy of its name.
func (e *entry) authorize(ctx context.Context, user authenticationv1.UserInfo, r *resolved) *wire.Problem {
	allowed, err := e.clients.Allowed(ctx, user, authorizationv1.ResourceAttributes{
		Namespace: r.name.Namespace, Verb: "create", Group: v1.Group, Version: "v1", Resource: "rules", Subresource: "proxy", Name: r.name.Name,
	})
	switch {
	case err != nil:
		return wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonBusy, err.Error())
	case !allowed:
		return wire.NewProblem(http.StatusForbidden, wire.ReasonForbidden,
			fmt.Sprintf("user %s may not create rules/proxy of group %s, rule %s, in namespace %s", user.Username, v1.Group, r.name.Name, r.name.Namespace))
	}
	return nil
}

// match finds the rule that answers a path; nil if none does.
func (c *Controller) match(path request) *resolved {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.order[path.namespace] {
		if r.ok() && r.pattern != nil && r.pattern.match(path.parts) {
			return r
		}
	}
	return nil
}
