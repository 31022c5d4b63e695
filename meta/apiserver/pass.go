package apiserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"path"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta/manager"
)

// While the link is connected, the requests of service accounts are passed on to the API
// server as they are, with the account's own token. The API server authenticates,
// authorizes, audits and answers them; nothing of the answer is held here but what is in
// flight.

// passes reports whether a request goes to the API server: it is of a service account, with a
// token that the API server accepts, and the link is connected.
func (s *Server) passes(r *http.Request, who Identity) bool {
	switch r.URL.Path {
	case "/healthz", "/livez", "/readyz":
		return false // they are of this server
	}
	return !who.expired && s.online(who)
}

// online reports whether the API server answers a client's requests now. A watch of such a client
// from the store, because the API server cannot be asked for a moment, is to end soon.
func (s *Server) online(who Identity) bool {
	connected, _ := s.cfg.Connected()
	return connected && s.mayPass(who) && !s.link.isOld()
}

// mayPass reports whether a client's requests go to the API server while the link is connected.
func (s *Server) mayPass(who Identity) bool { return s.cfg.Transport != nil && who.token != "" }

// passState is what one request leaves with the proxy.
type passState struct {
	token string
	query string
	watch bool
	err   error // why there is no answer; nothing was sent to the client
}

type passKey struct{}

// newProxy makes what carries requests to the API server.
func (s *Server) newProxy() *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport:     s.cfg.Transport,
		FlushInterval: -1, // events of a watch are read as they come
		BufferPool:    buffers{},
		ErrorLog:      slogDebug(s.cfg.Logger),
		Rewrite: func(p *httputil.ProxyRequest) {
			st, _ := p.In.Context().Value(passKey{}).(*passState)
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "api", "api"
			p.Out.URL.RawQuery = st.query
			// After a Connection header may have removed it, and in place of any second one.
			p.Out.Header.Set("Authorization", "Bearer "+st.token)
		},
		ModifyResponse: func(resp *http.Response) error {
			st, _ := resp.Request.Context().Value(passKey{}).(*passState)
			if st.watch && resp.StatusCode == http.StatusOK {
				resp.Body = watchBody{resp.Body}
			}
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			st, _ := r.Context().Value(passKey{}).(*passState)
			st.err = err
		},
	}
}

// watchBody ends a watch whose link is lost as any watch ends. The client then watches again
// from the version that it has: at the API server if the link is back, and otherwise here,
// where that version gets 410 Gone and the client lists again.
type watchBody struct{ io.ReadCloser }

func (b watchBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		err = io.EOF
	}
	return n, err
}

// buffers makes the proxy copy each answer with 8 KiB and not with net/http's 32: most of what
// is open are watches.
type buffers struct{}

// Get makes a buffer.
func (buffers) Get() []byte { return make([]byte, 8<<10) }

// Put drops the buffer.
func (buffers) Put([]byte) {}

// pass sends a request to the API server and copies the answer. It returns false if the
// request is to be answered here instead, since the link was lost before an answer came.
func (s *Server) pass(w *response, r *http.Request, q request, who Identity) (done bool, err error) {
	if !cleanPath(r.URL.Path) {
		return true, badRequest("path %.200q has empty, . or .. parts", r.URL.Path)
	}
	leave, err := s.enter(r, q, who)
	if err != nil {
		return true, err
	}
	defer leave()
	st := &passState{token: who.token, watch: q.verb == "watch"}
	if st.query, err = queryToCloud(r, q); err != nil {
		return true, err
	}
	r, release, err := s.withBody(w, r, q)
	if err != nil {
		return true, err
	}
	defer release()
	w.source = SourceCloud
	s.proxy.ServeHTTP(s.stalled.client(w), r.WithContext(context.WithValue(r.Context(), passKey{}, st)))
	if st.err == nil || r.Context().Err() != nil {
		return true, nil
	}
	w.source = SourceLocal
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case errors.Is(st.err, manager.ErrUnsupported):
		s.cfg.Logger.Info("cloudcore passes no requests of pods on to the API server: update it; until then pods get what the node holds")
		s.link.unsupported()
		return false, nil
	case errors.Is(st.err, manager.ErrOffline) && read:
		s.counts.fallBack()
		return false, nil
	case errors.Is(st.err, manager.ErrBusy):
		return true, apierrors.NewTooManyRequests("cloudcore serves as many requests of nodes as it may", 1)
	case errors.Is(st.err, manager.ErrOffline):
		return true, offline(q, "the cloud is out of reach, and may have executed the request or not")
	}
	s.cfg.Logger.Warn("a request could not be passed on to the cloud", "path", r.URL.Path, "err", st.err)
	return true, unavailable(q, "the request could not be passed on to the API server: edgecore's log says why")
}

// cleanPath reports whether a path has no empty, . or .. parts.
func cleanPath(p string) bool {
	return strings.HasPrefix(p, "/") && (p == path.Clean(p) || p == path.Clean(p)+"/")
}

// enter counts a request against the limits on what is open at the API server.
func (s *Server) enter(r *http.Request, q request, who Identity) (leave func(), err error) {
	long := q.verb == "watch" || streaming(q) || q.subresource == "proxy" || r.Header.Get("Upgrade") != ""
	own, limit := &s.calls, s.cfg.MaxRequests
	if long {
		own, limit = &s.follows, s.cfg.MaxWatches
	}
	refused := func(most int, of string) error {
		return apierrors.NewTooManyRequests(fmt.Sprintf("too many requests at a time: %d %s are the limit", most, of), 1)
	}
	if !own.enter(who.User) {
		if limit <= own.count(who.User) {
			return nil, refused(limit, "of one client")
		}
		return nil, refused(own.total, "of this kind")
	}
	if !s.passing.enter("") {
		own.leave(who.User)
		return nil, refused(s.cfg.MaxStreams, "of all clients")
	}
	return func() {
		s.passing.leave("")
		own.leave(who.User)
	}, nil
}

// withBody returns the request with its body for the API server. The body of a write is read
// at once, since it may have a resourceVersion of the store; any other is passed on as it comes.
func (s *Server) withBody(w http.ResponseWriter, r *http.Request, q request) (out *http.Request, release func(), err error) {
	write := q.resource != "" && q.subresource != "proxy" && !streaming(q) && r.Method != http.MethodGet && r.Method != http.MethodHead
	if !write || r.ContentLength == 0 || r.Header.Get("Content-Encoding") != "" {
		return r, func() {}, nil
	}
	if release, err = s.room(w, r); err != nil {
		return nil, nil, err
	}
	body, err := s.body(w, r)
	if err == nil && mayHaveLocal(body) {
		var res *served
		if res, err = s.find(r.Context(), q.group, q.version, q.resource); err != nil {
			release()
			return nil, nil, err
		}
		if res != nil && !res.Namespaced {
			q.namespace = ""
		}
		body, err = s.toCloud(r.Context(), q, res, r.Header.Get("Content-Type"), body)
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	out = r.Clone(r.Context())
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	out.TransferEncoding = nil
	out.Header.Set("Content-Length", strconv.Itoa(len(body)))
	return out, release, nil
}

// offline is the error for a request that cannot be executed because the cloud is out of reach.
func offline(q request, why string) error {
	err := unavailable(q, why)
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok {
		status.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: CauseOffline, Message: "the node is not connected to the cloud"}}
	}
	return err
}

// CauseOffline is the reason in details.causes of a Status with code 503 for a request that the
// node cannot execute until it is connected again.
const CauseOffline metav1.CauseType = "Offline"
