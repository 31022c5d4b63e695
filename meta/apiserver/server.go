package apiserver

import (
	"context"
	"errors"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/semaphore"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Server is the Kubernetes API of one node. Its methods may be called by
// several goroutines at once; Run may be called once.
type Server struct {
	cfg            Config
	catalog        *catalog
	codec          *codec
	policy         policy
	synced         synced
	watches        counter // that are served from the store
	calls, follows counter // requests and watches that are open at the API server
	passing        counter // both together
	stalled        stalled
	counts         counts
	proxy          *httputil.ReverseProxy // to the API server
	link           linkState
	bodies         *semaphore.Weighted // of requests, in bytes
	yaml           sync.Mutex          // one small body of YAML is parsed at a time, see fromYAML
	ca             *Authority
	started        atomic.Bool // Run was called
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	s := &Server{cfg: cfg, catalog: newCatalog(cfg.Custom), watches: counter{most: cfg.MaxWatches},
		calls: counter{most: cfg.MaxRequests}, follows: counter{most: cfg.MaxWatches, total: max(cfg.MaxStreams*3/4, 1)},
		passing: counter{most: cfg.MaxStreams},
		bodies:  semaphore.NewWeighted(int64(cfg.MaxBodies) * cfg.MaxBody)}
	s.codec = newCodec(s.catalog.scheme)
	s.proxy = s.newProxy()
	s.policy.store = cfg.Store
	if s.ca = cfg.Authority; s.ca == nil {
		var err error
		if s.ca, err = newAuthority(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Handler serves clients that show a certificate or a token; all others are
// refused.
func (s *Server) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := s.authenticate(r)
		if err != nil {
			s.codec.fail(&response{ResponseWriter: w, counts: &s.counts, source: SourceLocal}, r, apierrors.NewUnauthorized(err.Error()))
			return
		}
		s.serve(w, r, who)
	})
}

// AdminHandler serves every client as the node's administrator. Use it only for a listener
// that nobody else can reach.
func (s *Server) AdminHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, admin(s.cfg.Node)) })
}

// serve answers one request of a known client: through the link while it is connected and the
// client is a service account, and otherwise here.
func (s *Server) serve(inner http.ResponseWriter, r *http.Request, who Identity) {
	w := &response{ResponseWriter: inner, counts: &s.counts, source: SourceLocal}
	q, ok := parseRequest(r.Method, r.URL)
	extension := s.extension(r, who)
	online := s.link.next() // before the state of the link is read
	if extension == nil && s.passes(r, who) && !s.keepsTopology(r.Context(), q) {
		done, err := s.pass(w, r, q, who)
		if err != nil {
			s.codec.fail(w, r, err)
		}
		if done {
			return
		}
	}
	s.serveLocal(w, r.WithContext(withOnline(r.Context(), online)), q, ok, extension, who)
}

// serveLocal answers one request by the extension of its path, if there is one, or from the
// store, or has the cloud execute it. ok is that it is one of the Kubernetes API.
func (s *Server) serveLocal(w http.ResponseWriter, r *http.Request, q request, ok bool, extension http.Handler, who Identity) {
	var err error
	switch {
	case !ok && extension == nil:
		err = badRequest("path %.200q or method %s is none of the Kubernetes API", r.URL.Path, r.Method)
	case r.Header.Get("Impersonate-User") != "" || r.Header.Get("Impersonate-Group") != "" || r.Header.Get("Impersonate-Uid") != "":
		err = apierrors.NewForbidden(q.groupResource(), q.name, errors.New("impersonation is not served on a node"))
	case extension != nil:
		extension.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, who)))
	case q.resource == "":
		err = s.serveOther(w, r, q)
	default:
		err = s.serveResource(w, r, q, who)
	}
	if err != nil {
		s.codec.fail(w, r, err)
	}
}

// serveResource answers a request for objects: reviews and reads here, and
// all else by the cloud.
func (s *Server) serveResource(w http.ResponseWriter, r *http.Request, q request, who Identity) error {
	if !streaming(q) {
		release, err := s.room(w, r)
		if err != nil {
			return err
		}
		defer release()
	}
	if review := reviewOf(q); review != nil {
		return review(s, w, r, who)
	}
	res, err := s.find(r.Context(), q.group, q.version, q.resource)
	if err != nil {
		return err
	}
	if isEvent(q) && (q.verb == "create" || q.verb == "patch") || res != nil && (reading(q) || streaming(q)) {
		if err := s.authorize(r.Context(), q, who); err != nil {
			return err
		}
	}
	if res != nil && !res.Namespaced {
		q.namespace = "" // RBAC puts "namespaces/x" into namespace x; the store does not
	}
	switch {
	case isEvent(q) && (q.verb == "create" || q.verb == "patch"):
		return s.writeEvent(w, r, q)
	case streaming(q):
		return s.stream(w, r, q, res)
	case res == nil || q.subresource != "" || !reading(q):
		return s.forward(w, r, q, res, who)
	case q.verb == "list":
		return s.collection(w, r, q, res)
	case q.verb == "watch":
		return s.watch(w, r, q, res, who)
	}
	err = s.get(w, r, q, res)
	if errors.Is(err, errNotThere) {
		absent, err := s.absent(r.Context(), q, res)
		switch {
		case err != nil:
			return err
		case absent:
			return apierrors.NewNotFound(q.groupResource(), q.name)
		}
		// It may exist without being on this node: only the cloud knows.
		return s.forward(w, r, q, res, who)
	}
	return err
}

func reading(q request) bool {
	return q.subresource == "" && (q.verb == "get" || q.verb == "list" || q.verb == "watch")
}
