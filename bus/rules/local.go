package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

// Bounds of a request of a program on the node.
const (
	maxLocalBody = 5 << 20 // as KubeEdge has it
	listenRetry  = 10 * time.Second
)

// localServer serves programs on the node while there is a rule for them.
type localServer struct {
	r         *Rules
	transport *httplink.Transport
	places    chan struct{}

	mu     sync.Mutex
	server *http.Server // nil while nothing listens
	addr   net.Addr
	retry  bool // a retry is under way
	closed bool
}

func newLocalServer(r *Rules) localServer {
	return localServer{r: r, places: make(chan struct{}, maxRequests), transport: httplink.NewTransport(r.open)}
}

// LocalAddr is where programs on the node reach rules; nil while nothing listens.
func (r *Rules) LocalAddr() net.Addr {
	r.local.mu.Lock()
	defer r.local.mu.Unlock()
	return r.local.addr
}

// adjust opens the port if a rule needs it and closes it if none does.
func (l *localServer) adjust(ctx context.Context, group *sync.WaitGroup) {
	l.r.mu.Lock()
	wanted := false
	for _, v := range l.r.rules {
		wanted = wanted || v.targetURL != ""
	}
	l.r.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
	case !wanted && l.server != nil:
		l.server.Close()
		l.server, l.addr = nil, nil
	case wanted && l.server == nil && !l.retry:
		l.listenLocked(ctx, group)
	}
}

func (l *localServer) listenLocked(ctx context.Context, group *sync.WaitGroup) {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", l.r.cfg.Listen)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		l.r.log.Error("programs on the node cannot reach rules; trying again", "address", l.r.cfg.Listen, "err", err)
		l.retry = true
		group.Go(func() {
			sleep(ctx, listenRetry)
			l.mu.Lock()
			l.retry = false
			l.mu.Unlock()
			l.adjust(ctx, group)
		})
		return
	}
	server := &http.Server{
		Handler: l, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: l.r.cfg.Timeout, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(l.r.log.Handler(), slog.LevelDebug),
	}
	l.server, l.addr = server, listener.Addr()
	group.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			l.r.log.Error("the port for programs on the node has failed", "err", err)
		}
	})
}

// close closes the port for good. Requests under way end with Run's context.
func (l *localServer) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.server != nil {
		l.server.Close()
	}
	l.server, l.addr = nil, nil
}

// wait waits for the requests under way when close has been called: none comes after them.
func (l *localServer) wait() {
	for range cap(l.places) {
		l.places <- struct{}{}
	}
}

// ServeHTTP answers a program on the node: /v1/RULE/... is passed on as it is, everything
// else is KubeEdge's envelope.
func (l *localServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if !localHost(req.Host) || req.Header.Get("Origin") != "" {
		// A web page could otherwise have a browser on this machine send requests.
		wire.NewProblem(http.StatusForbidden, wire.ReasonForbidden, "only programs on this machine may use rules, at a loopback address and not from a web page").Write(w)
		return
	}
	req.Body = http.MaxBytesReader(w, req.Body, maxLocalBody)
	ctx, cancel := context.WithTimeout(req.Context(), l.r.cfg.Timeout)
	defer cancel()
	req = req.WithContext(ctx)
	l.r.counts.requests.Add(1)
	limited(l.places, http.HandlerFunc(l.serve)).ServeHTTP(w, req)
}

func (l *localServer) serve(w http.ResponseWriter, req *http.Request) {
	rest, plain := strings.CutPrefix(req.URL.EscapedPath(), "/v1/")
	if !plain {
		l.envelope(w, req)
		return
	}
	name, rest, _ := strings.Cut(rest, "/")
	key, problem := l.byName(name)
	if problem != nil {
		problem.Write(w)
		return
	}
	l.forward(w, req, key, rest)
}

// localHost reports whether a Host header names this machine by a loopback address.
func localHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || (err == nil && ip.IsLoopback())
}

// byName finds the rule of a name, NAME or NAMESPACE:NAME.
func (l *localServer) byName(name string) (meta.Key, *wire.Problem) {
	namespace, rule, qualified := strings.Cut(name, ":")
	if !qualified {
		namespace, rule = "", name
	}
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	var found []meta.Key
	for key, v := range l.r.rules {
		if v.targetURL != "" && key.Name == rule && (namespace == "" || key.Namespace == namespace) {
			found = append(found, key)
		}
	}
	switch len(found) {
	case 0:
		return meta.Key{}, wire.NewProblem(http.StatusNotFound, wire.ReasonNoRule, fmt.Sprintf("this node has no rule %.253q with a source servicebus", name))
	case 1:
		return found[0], nil
	}
	return meta.Key{}, wire.NewProblem(http.StatusConflict, wire.ReasonAmbiguous, fmt.Sprintf("rules of several namespaces have the name %.253q: use /v1/NAMESPACE:%s/", name, rule))
}

// ruleKey is the rule of a request in its context.
type ruleKey struct{}

// open opens the stream of a request to the cloud.
func (r *Rules) open(ctx context.Context, _ string) (hub.Stream, error) {
	key, ok := ctx.Value(ruleKey{}).(meta.Key)
	if !ok || r.cfg.Open == nil {
		return nil, hub.ErrOffline
	}
	return r.cfg.Open(ctx, hub.Message{Key: hub.Key{Resource: resources.RuleProxy, Namespace: key.Namespace, Name: key.Name}, Body: wire.Target{}.Encode()})
}

// forward passes a request on to the cloud, once. rest is what follows the target's URL.
func (l *localServer) forward(w http.ResponseWriter, req *http.Request, key meta.Key, rest string) {
	if wantsDeferral(req.Header) && l.offline(req.Context()) {
		l.keep(w, req, key, rest)
		return
	}
	proxy := &httputil.ReverseProxy{
		Transport: l.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			u := *p.In.URL
			u.Scheme, u.Host = "http", "cloud"
			wire.SetPath(&u, "/"+rest)
			p.Out.URL, p.Out.Host = &u, "cloud"
		},
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) { cloudProblem(req, err).Write(w) },
		ErrorLog:     slog.NewLogLogger(l.r.log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, req.WithContext(context.WithValue(req.Context(), ruleKey{}, key)))
}

// cloudProblem says why a request did not reach the cloud.
func cloudProblem(req *http.Request, err error) *wire.Problem {
	peer, refused := errors.AsType[*hub.Error](err)
	switch {
	case errors.Is(err, hub.ErrOffline):
		return wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonNodeAway, "this node has no link to the cloud; Prefer: respond-async keeps the request until it has one")
	case refused && peer.Code == hub.CodeUnsupported:
		return wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonNoRule, "this cloud does not know rules: use a newer cloudcore")
	case errors.Is(err, hub.ErrInterrupted):
		return wire.NewProblem(http.StatusBadGateway, wire.ReasonRefused, "the link was lost meanwhile; the call may have been made")
	}
	return callProblem(req, "the cloud's end of the rule", err)
}
