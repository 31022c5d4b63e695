package nodeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
)

// streams passes HTTP requests of nodes' pods on to the API server, each with the pod's own
// token and with nothing of cloudcore's.
type streams struct {
	server  *httplink.Server
	proxy   *httputil.ReverseProxy
	plain   *http.Transport // HTTP/2, for all requests but upgrades
	upgrade *http.Transport
	check   func(r *http.Request, node, token string) error
	log     *slog.Logger
	limits  limits
	stats   *metrics
}

// newStreams makes the proxy for the API server of cfg.
func newStreams(cfg Config, base *url.URL, check func(r *http.Request, node, token string) error) (*streams, error) {
	s := &streams{check: check, log: cfg.Logger, limits: limits{all: cfg.MaxStreams, each: cfg.MaxStreamsPerNode}, stats: newMetrics()}
	var err error
	if s.plain, s.upgrade, err = transports(cfg.REST); err != nil {
		return nil, err
	}
	s.proxy = &httputil.ReverseProxy{
		Transport: s, FlushInterval: -1, BufferPool: buffers{},
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(base)
			for name := range p.Out.Header {
				if strings.HasPrefix(name, "X-Remote-") {
					delete(p.Out.Header, name) // a proxy's word, which this is not
				}
			}
			// After a Connection header may have removed it, and in place of any second one.
			p.Out.Header.Set("Authorization", "Bearer "+bearer(p.In))
		},
		ModifyResponse: checkRedirect,
		ErrorHandler:   s.failed,
	}
	s.server, err = httplink.NewServer(httplink.ServerConfig{Handler: s, MaxHeader: 128 << 10, Logger: cfg.Logger})
	return s, err
}

// streamWindow is how much of an answer that a pod does not read is held here: the API server is
// not asked for more.
const streamWindow = 64 << 10

// transports make connections to the API server that show no credentials. One that the caller
// does not read holds at most streamWindow of its answer.
func transports(cfg *rest.Config) (plain, upgrade *http.Transport, err error) {
	anonymous := rest.AnonymousClientConfig(cfg)
	tls, err := rest.TLSConfigFor(anonymous)
	if err != nil {
		return nil, nil, fmt.Errorf("nodeapi: %w", err)
	}
	plain = &http.Transport{
		Proxy: anonymous.Proxy, DialContext: anonymous.Dial, TLSClientConfig: tls, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second, DisableCompression: true, ForceAttemptHTTP2: true,
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
		HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: streamWindow, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}
	if plain.Proxy == nil {
		plain.Proxy = http.ProxyFromEnvironment
	}
	if plain.DialContext == nil {
		plain.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	upgrade = plain.Clone()
	upgrade.ForceAttemptHTTP2, upgrade.DisableKeepAlives = false, true
	upgrade.Protocols = new(http.Protocols)
	upgrade.Protocols.SetHTTP1(true)
	return plain, upgrade, nil
}

// RoundTrip sends a request to the API server. It follows no redirects.
func (s *streams) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Upgrade") != "" {
		return s.upgrade.RoundTrip(r)
	}
	return s.plain.RoundTrip(r)
}

func (s *streams) closeIdle() {
	if s != nil {
		s.plain.CloseIdleConnections()
		s.upgrade.CloseIdleConnections()
	}
}

// buffers makes the proxy copy each answer with 8 KiB: most of what is open are watches.
type buffers struct{}

// Get makes a buffer.
func (buffers) Get() []byte { return make([]byte, 8<<10) }

// Put drops the buffer.
func (buffers) Put([]byte) {}

// bearer is the token of a request, "" if it has none.
func bearer(r *http.Request) string {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if token = strings.TrimSpace(token); !ok || strings.ContainsAny(token, " \r\n\t") || strings.Count(token, ".") != 2 {
		return ""
	}
	return token
}

// ServeHTTP answers one request of a node's pod. The stream says which node it is.
func (s *streams) ServeHTTP(inner http.ResponseWriter, r *http.Request) {
	w := &counted{ResponseWriter: inner, requests: s.stats.requests}
	node := ""
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		node = local.String()
	}
	if code, err := checkHead(r); err != nil {
		refuse(w, code, err.Error())
		return
	}
	if !s.limits.enter(node) {
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, "too many requests of pods at a time go through cloudcore")
		return
	}
	defer s.limits.leave(node)
	s.stats.open.Inc()
	defer s.stats.open.Dec()
	if err := s.check(r, node, bearer(r)); err != nil {
		code, text := http.StatusServiceUnavailable, "the API server cannot be reached, or its answer was cut off"
		if e, ok := errors.AsType[*hub.Error](err); ok {
			text = e.Text
			if e.Code == hub.CodeForbidden {
				code = http.StatusUnauthorized
			}
		}
		refuse(w, code, text)
		return
	}
	s.proxy.ServeHTTP(w, r)
}

// checkHead refuses what does not reach the API server as one request with the caller's token.
func checkHead(r *http.Request) (code int, err error) {
	p := r.URL.Path
	switch {
	case r.Method == http.MethodConnect, r.URL.Opaque != "",
		!strings.HasPrefix(p, "/"), p != path.Clean(p) && p != path.Clean(p)+"/":
		return http.StatusBadRequest, errors.New("the path has empty, . or .. parts, or is none")
	case bearer(r) == "":
		return http.StatusUnauthorized, errors.New("the request has no token of a service account")
	}
	for _, protocol := range r.Header.Values("Sec-Websocket-Protocol") {
		// The API server would take a token from there too, and that one was not checked.
		if strings.Contains(protocol, "bearer.authorization.k8s.io") {
			return http.StatusUnauthorized, errors.New("a token in Sec-WebSocket-Protocol is not accepted through a node: send it as Authorization")
		}
	}
	return 0, nil
}

// checkRedirect passes on a redirect within the API server, by its path alone, and refuses any other:
// the node does not learn where the API server would send it.
func checkRedirect(resp *http.Response) error {
	to := resp.Header.Get("Location")
	if to == "" || resp.StatusCode < 300 || resp.StatusCode > 399 {
		return nil
	}
	u, err := url.Parse(to)
	if err != nil || u.Host != "" && u.Host != resp.Request.URL.Host || u.Host == "" && !strings.HasPrefix(u.Path, "/") {
		return errRedirect
	}
	u.Scheme, u.Host, u.User = "", "", nil
	resp.Header.Set("Location", u.String())
	return nil
}

var errRedirect = errors.New("the API server answered with a redirect to another host, which is not followed")

// failed answers a request that got no answer of the API server.
func (s *streams) failed(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errRedirect):
		refuse(w, http.StatusForbidden, err.Error())
	case r.Context().Err() != nil: // the client or the link has gone
		refuse(w, http.StatusServiceUnavailable, "the request was given up")
	default:
		s.log.Warn("a pod's request did not reach the API server", "path", r.URL.Path, "err", err)
		refuse(w, http.StatusServiceUnavailable, "the API server cannot be reached: cloudcore's log says why")
	}
}

// refuse answers with a Status.
func refuse(w http.ResponseWriter, code int, text string) {
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Code: int32(code), Message: text,
		Reason: map[int]metav1.StatusReason{
			http.StatusBadRequest: metav1.StatusReasonBadRequest, http.StatusUnauthorized: metav1.StatusReasonUnauthorized,
			http.StatusForbidden: metav1.StatusReasonForbidden, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
			http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
		}[code],
	}
	if code == http.StatusTooManyRequests {
		status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(status) // a client that has gone needs no answer
}

// limits bounds how many requests are open: of all nodes, and of each.
type limits struct {
	all, each int

	mu     sync.Mutex
	open   int
	byNode map[string]int
}

func (l *limits) enter(node string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.all || l.byNode[node] >= l.each {
		return false
	}
	if l.byNode == nil {
		l.byNode = make(map[string]int)
	}
	l.open++
	l.byNode[node]++
	return true
}

func (l *limits) leave(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.byNode[node]--; l.byNode[node] <= 0 {
		delete(l.byNode, node)
	}
}
