package kubeletproxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"path"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
)

// newProxy makes what carries requests to nodes.
func (s *Server) newProxy(transport *httplink.Transport) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1, // logs are read as they are written
		BufferPool:    smallBuffers{},

		ModifyResponse: endWithGoAway,
		Rewrite: func(p *httputil.ProxyRequest) {
			v, _ := p.In.Context().Value(sessionKey{}).(*session)
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", v.node, v.node
			p.Out.Header.Del("Authorization") // meant for cloudcore
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			v, _ := r.Context().Value(sessionKey{}).(*session)
			code, reason, text := failure(v.node, err)
			if r.Context().Err() == nil {
				s.sessions.refused.WithLabelValues(reason).Inc()
			}
			answer(w, r, code, text)
		},
	}
}

// smallBuffers makes the proxy copy each body with a buffer of 4 KiB, not the 32 KiB of
// net/http: most bodies are followed logs, a thousand at a time. Upgraded connections, which
// carry more bytes, have buffers of their own.
type smallBuffers struct{}

// Get makes a buffer.
func (smallBuffers) Get() []byte { return make([]byte, 4<<10) }

// Put drops the buffer: sessions are long and few, so a pool would help little.
func (smallBuffers) Put([]byte) {}

// ServeHTTP answers one request to a node's endpoint.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.requests.Enter() {
		return
	}
	defer s.requests.Leave()
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !cleanPath(r.URL.Path) {
		s.refuse(w, r, http.StatusBadRequest, "bad path", "", errPath)
		return
	}
	u, err := s.auth.authenticate(r)
	if err != nil {
		code, reason := http.StatusUnauthorized, "unauthenticated"
		if errors.Is(err, errBusy) {
			code, reason = http.StatusTooManyRequests, "exhausted"
		}
		s.refuse(w, r, code, reason, "", err)
		return
	}
	markKnown(r.Context())
	node, err := s.nodeAt(local)
	if err != nil {
		code := http.StatusServiceUnavailable
		if errors.Is(err, errNoNode) {
			code = http.StatusNotFound
		}
		s.refuse(w, r, code, "no node", "", err)
		return
	}
	if err := authorize(r.Context(), s.rights, u, node, requiredRight(r.Method, r.URL.Path)); err != nil {
		code, reason := http.StatusInternalServerError, "rights unknown"
		if _, denied := errors.AsType[*deniedError](err); denied {
			code, reason = http.StatusForbidden, "forbidden"
		}
		s.refuse(w, r, code, reason, node, err)
		return
	}
	status := &statusWriter{ResponseWriter: w}
	v := newSession(node, u.Username, r.URL.Path)
	v.client = status
	if err := s.sessions.addSession(v); err != nil {
		w.Header().Set("Retry-After", "1")
		s.refuse(w, r, http.StatusTooManyRequests, "exhausted", node, err)
		return
	}
	defer func() { s.sessions.endSession(r.Context(), v, status.code) }()
	s.proxy.ServeHTTP(status, r.WithContext(withSession(r.Context(), v)))
}

// errPath is the answer to a path that would be authorized as one thing and served
// as another.
var errPath = errors.New("the path has empty, . or .. parts")

// cleanPath reports whether a path has no empty, . or .. parts.
func cleanPath(p string) bool {
	return strings.HasPrefix(p, "/") && (p == path.Clean(p) || p == path.Clean(p)+"/")
}

// refuse answers with an error, and closes the connection of a client that is not
// authenticated.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int, reason, node string, err error) {
	s.sessions.refused.WithLabelValues(reason).Inc()
	if code == http.StatusUnauthorized || code == http.StatusBadRequest {
		w.Header().Set("Connection", "close")
	}
	s.log.Warn("request to a node refused", "node", node, "from", r.RemoteAddr, "path", r.URL.Path, "status", code, "err", err)
	answer(w, r, code, err.Error())
}

// failure maps an error before the node's server answered to a status, a reason for
// the metrics and a text.
func failure(node string, err error) (code int, reason, text string) {
	e, remote := errors.AsType[*hub.Error](err)
	switch {
	case errors.Is(err, context.Canceled):
		return http.StatusBadGateway, "canceled", "the client has gone"
	case errors.Is(err, hub.ErrOffline):
		return http.StatusServiceUnavailable, "offline", fmt.Sprintf("node %q is not connected to the cloud; its pods keep running, and logs, exec and the like work again when it is back", node)
	case remote && e.Code == hub.CodeExhausted:
		return http.StatusTooManyRequests, "exhausted", fmt.Sprintf("node %q: %s", node, e.Text)
	case remote && e.Code == hub.CodeUnsupported:
		return http.StatusNotImplemented, "unsupported", fmt.Sprintf("node %q runs an edgecore that serves no logs, exec and the like: update it", node)
	case errors.Is(err, hub.ErrInterrupted):
		return http.StatusServiceUnavailable, "interrupted", fmt.Sprintf("the link to node %q was lost during the request", node)
	}
	return http.StatusBadGateway, "failed", fmt.Sprintf("node %q: %v", node, err)
}

// answer writes an error in the form from which kubectl shows the text. For logs
// the API server passes on only the text of statuses 400 and 500; for upgrades the
// API server and client-go look for a Status object.
func answer(w http.ResponseWriter, r *http.Request, code int, text string) {
	if strings.HasPrefix(r.URL.Path, "/containerLogs/") && code >= 500 {
		code = http.StatusInternalServerError
	}
	if r.Header.Get("Upgrade") == "" {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(code)
		fmt.Fprint(w, text)
		return
	}
	status := metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Code: int32(code), Message: text,
		Reason: map[int]metav1.StatusReason{
			http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusForbidden: metav1.StatusReasonForbidden,
			http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
			http.StatusInternalServerError: metav1.StatusReasonInternalError,
		}[code],
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(status) // a client that has gone needs no answer
}

// statusWriter remembers the status, and the connection of an upgraded request.
type statusWriter struct {
	http.ResponseWriter
	code int

	mu   sync.Mutex
	conn net.Conn // once hijacked
}

func (w *statusWriter) WriteHeader(code int) {
	w.code = code
	w.ResponseWriter.WriteHeader(code)
}

// Hijack gives the connection to an upgraded request.
func (w *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conn = conn
	return conn, rw, err
}

// SetWriteDeadline bounds writes to the client, also those under way.
func (w *statusWriter) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		return w.conn.SetWriteDeadline(t)
	}
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(t)
}

// Unwrap lets http.ResponseController through, to flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
