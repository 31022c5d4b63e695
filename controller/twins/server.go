package twins

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// Config sets up a Server. Store, Cloud and Certificate are required.
type Config struct {
	Store *Store
	Cloud kubernetes.Interface // cloudcore's own identity: to ask who users are and what they may
	// Certificate is the server's certificate, asked for at each connection.
	Certificate func() (*tls.Certificate, error)
	MaxRequests int          // that may be under way, watches included; 0 means 4096
	Logger      *slog.Logger // nil discards
}

// Server serves the twins of a Store. Its methods may be called by several goroutines at once.
type Server struct {
	cfg    Config
	guard  runguard.Guard
	auth   *authenticator
	rights *auth.Rights
	slots  chan struct{}

	document func() ([]byte, error) // OpenAPI
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Store == nil, cfg.Cloud == nil, cfg.Certificate == nil:
		return nil, errors.New("twins: Config.Store, Cloud and Certificate are required")
	case cfg.MaxRequests < 0:
		return nil, fmt.Errorf("twins: Config.MaxRequests is %d: leave it 0 for the default", cfg.MaxRequests)
	}
	if cfg.MaxRequests == 0 {
		cfg.MaxRequests = 4096
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg: cfg, auth: newAuthenticator(cfg.Cloud, cfg.Logger), rights: newRights(cfg.Cloud, cfg.Logger),
		slots: make(chan struct{}, cfg.MaxRequests), document: sync.OnceValues(newDocument),
	}, nil
}

// Run serves on the listener until ctx ends. It then ends all requests, closes the listener,
// waits for all that it started and returns nil. A second Run returns controller.ErrStarted.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if err := s.guard.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var requests runguard.Requests
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if requests.Enter() {
				defer requests.Leave()
				s.ServeHTTP(w, r)
			}
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 15 * time.Second,
		WriteTimeout:      2 * time.Minute, // of all but watches, which have readTime
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12,
			// The handler verifies the certificate, since its authority is read from the cluster.
			ClientAuth:     tls.RequestClientCert,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cfg.Certificate() },
		},
	}
	var wg sync.WaitGroup
	ended := make(chan error, 1)
	wg.Go(func() { s.auth.run(ctx) })
	wg.Go(func() { ended <- server.ServeTLS(l, "", "") })
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	cancel()
	if closed := server.Close(); err == nil && !errors.Is(closed, net.ErrClosed) {
		err = closed
	}
	wg.Wait()
	requests.Close()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("twins: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		writeError(w, apierrors.NewTooManyRequests("too many requests are under way", 5))
		return
	}
	if err := s.serve(w, r); err != nil {
		writeError(w, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if r.Method == http.MethodGet && slices.Contains([]string{"/healthz", "/livez", "/readyz"}, path) {
		_, _ = w.Write([]byte("ok"))
		return nil
	}
	user, err := s.auth.authenticate(r)
	if err != nil {
		return err
	}
	q := new(request)
	if !q.negotiate(r) {
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Code: http.StatusNotAcceptable, Reason: metav1.StatusReasonNotAcceptable, Message: "only application/json is served, as it is or as a Table",
		}}
	}
	if r.Method != http.MethodGet {
		return apierrors.NewMethodNotSupported(schema.GroupResource{Group: Group, Resource: Resource}, r.Method)
	}
	if path == openAPIIndex || path == openAPIPath {
		return s.openAPI(w, path)
	}
	rest, ok := strings.CutPrefix(path, "/apis/"+groupVersion)
	if !ok || rest == "" {
		return discovery(w, path, q.discovery) // each authenticated user may have it
	}
	if !q.parsePath(rest) {
		return notFound(path)
	}
	if err := q.parseOptions(r.URL.Query()); err != nil {
		return err
	}
	if err := authorize(r.Context(), s.rights, user, q); err != nil {
		return err
	}
	switch q.verb {
	case "get":
		return s.get(w, q)
	case "list":
		return s.list(w, q)
	}
	return s.watch(w, r, q)
}

func (s *Server) get(w http.ResponseWriter, q *request) error {
	e, ok := s.cfg.Store.load(name{q.namespace, q.name})
	if !ok {
		return apierrors.NewNotFound(schema.GroupResource{Group: Group, Resource: Resource}, q.name)
	}
	if q.table {
		return writeJSON(w, http.StatusOK, newTable(e.version, true, []metav1.TableRow{row(e.report, e.version, time.Now())}))
	}
	return writeJSON(w, http.StatusOK, object(e.report, e.version, e.truncated))
}

func (s *Server) list(w http.ResponseWriter, q *request) error {
	all, version := s.cfg.Store.snapshot(q.namespace)
	all = slices.DeleteFunc(all, func(e *entry) bool { return !q.selects(e.report) })
	slices.SortFunc(all, func(a, b *entry) int {
		return strings.Compare(a.report.Namespace+"/"+a.report.Name, b.report.Namespace+"/"+b.report.Name)
	})
	if q.table {
		rows := make([]metav1.TableRow, 0, len(all))
		for _, e := range all {
			rows = append(rows, row(e.report, e.version, time.Now()))
		}
		return writeJSON(w, http.StatusOK, newTable(version, true, rows))
	}
	items := make([]answered, 0, len(all))
	for _, e := range all {
		items = append(items, object(e.report, e.version, e.truncated))
	}
	return writeJSON(w, http.StatusOK, struct {
		metav1.TypeMeta `json:",inline"`
		metav1.ListMeta `json:"metadata"`
		Items           []answered `json:"items"`
	}{metav1.TypeMeta{Kind: "TwinList", APIVersion: groupVersion}, metav1.ListMeta{ResourceVersion: text(version)}, items})
}

// discovery answers what is served here.
func discovery(w http.ResponseWriter, path string, aggregated bool) error {
	v := metav1.GroupVersionForDiscovery{GroupVersion: groupVersion, Version: Version}
	group := metav1.APIGroup{Name: Group, Versions: []metav1.GroupVersionForDiscovery{v}, PreferredVersion: v}
	verbs := []string{"get", "list", "watch"}
	switch path {
	case "/apis":
		if aggregated {
			w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
			return writeJSON(w, http.StatusOK, &apidiscoveryv2.APIGroupDiscoveryList{
				TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"},
				Items: []apidiscoveryv2.APIGroupDiscovery{{ObjectMeta: metav1.ObjectMeta{Name: Group}, Versions: []apidiscoveryv2.APIVersionDiscovery{{
					Version: Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent, Resources: []apidiscoveryv2.APIResourceDiscovery{{
						Resource: Resource, SingularResource: "twin", Scope: apidiscoveryv2.ScopeNamespace, Verbs: verbs, Categories: []string{"edgekit"},
						ResponseKind: &metav1.GroupVersionKind{Group: Group, Version: Version, Kind: "Twin"},
					}},
				}}}},
			})
		}
		return writeJSON(w, http.StatusOK, &metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{group}})
	case "/apis/" + Group:
		group.TypeMeta = metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}
		return writeJSON(w, http.StatusOK, &group)
	case "/apis/" + groupVersion:
		return writeJSON(w, http.StatusOK, &metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: groupVersion,
			APIResources: []metav1.APIResource{{Name: Resource, SingularName: "twin", Namespaced: true, Kind: "Twin", Verbs: verbs, Categories: []string{"edgekit"}}},
		})
	}
	return notFound(path)
}

func notFound(path string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: fmt.Sprintf("%.200q is not served here", path),
	}}
}

func writeJSON(w http.ResponseWriter, code int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if w.Header().Get("Content-Type") == "" {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	_, _ = w.Write(raw) // a client that is gone needs no answer
	return nil
}

func writeError(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status.Code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	_ = writeJSON(w, int(status.Code), status) // a Status has a JSON form
}

// statusOf returns the Status for an error.
func statusOf(err error) *metav1.Status {
	var known apierrors.APIStatus
	status := apierrors.NewInternalError(err).ErrStatus
	if errors.As(err, &known) {
		status = known.Status()
	}
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	status.Status = metav1.StatusFailure
	return &status
}
