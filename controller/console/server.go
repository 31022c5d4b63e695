package console

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/netutil"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/devices"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/groups/v1alpha1"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/runguard"
	"github.com/edgekit/edgekit/controller/jobs"
	"github.com/edgekit/edgekit/hub"
)

// Config sets up a Server. REST, Cloud, Nodes, Pods and Devices are required, and Listener and
// Certificate for Run. Package controller sets REST, Cloud, Nodes, Pods, Devices and Jobs.
type Config struct {
	// REST is where the API server is. Its credentials are not used: requests for users have the
	// user's own token.
	REST *rest.Config
	// Cloud asks in cloudcore's own name who users are and what they may.
	Cloud kubernetes.Interface
	// Nodes, Pods, Devices and Jobs are what lists are made of. None of them may run yet. Jobs
	// may be nil, where fleet jobs are off.
	Nodes   *cache.Store[*corev1.Node]
	Pods    *edge.Controller
	Devices *devices.Controller
	Jobs    *jobs.Controller
	// Live has the newest reports of devices; nil has none.
	Live *Live
	// ID names this cloudcore as the holder of the nodes that are connected to it.
	ID string

	// Listener is served by Run, with TLS. Run closes it.
	Listener net.Listener
	// Certificate is the server's certificate, asked for at each connection.
	Certificate func() (*tls.Certificate, error)
	// SiteLabels are labels of nodes that name their site; the first that a node has counts.
	// Empty means those of node groups and zones.
	SiteLabels []string
	// SessionIdle is how long a session lasts without a request, and SessionLife how long at
	// most; 0 means 30m and 12h.
	SessionIdle, SessionLife time.Duration
	// MaxSessions bounds the sessions of all users, MaxStreams the open streams and logs; 0
	// means 4096 and 256. One user has at most a sixteenth of either.
	MaxSessions, MaxStreams int
	// Logger gets logins, changes that users make, and what goes wrong; nil discards.
	Logger *slog.Logger
}

const (
	apiPath = "/console/api/v1/"
	// maxRequests is how many requests are answered at a time, besides streams and logins.
	maxRequests = 128
	// requestShare is the share of maxRequests that one user may have.
	requestShare = 4
	// maxLogins is how many logins are answered at a time.
	maxLogins = 64
	// maxHTTP2 is how many requests one connection may have under way: a page has a few.
	maxHTTP2 = 64
	// maxConnections is how many clients may be connected.
	maxConnections = 1024
	// answerTime is how long one request may take, besides streams: most of it waits for the
	// API server.
	answerTime = 15 * time.Second
	// userHeader must be on each request that changes something. No other site can set it.
	userHeader = "X-Edgekit-Console"
)

// Server is the console. Its methods may be called by several goroutines at once.
type Server struct {
	guard    runguard.Guard
	cfg      Config
	log      *slog.Logger
	mux      *http.ServeMux
	users    *users
	sessions *sessions
	upstream *upstream
	fleet    *fleet
	devices  *deviceIndex
	jobs     *jobIndex
	requests chan struct{} // a slot for each request, before its user is known
	logins   chan struct{} // a slot for each login
	shares   *userLimit    // of requests
	streams  *userLimit
	origins  *http.CrossOriginProtection
	page     *page

	mu    sync.Mutex
	links func(node string) (hub.Info, bool) // of this cloudcore; nil until Run
}

// New checks the configuration. It does no I/O.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.REST == nil, cfg.Cloud == nil, cfg.Nodes == nil, cfg.Pods == nil, cfg.Devices == nil:
		return nil, errors.New("console: Config.REST, Cloud, Nodes, Pods and Devices are required")
	case cfg.SessionIdle < 0, cfg.SessionLife < 0:
		return nil, errors.New("console: Config.SessionIdle or SessionLife is negative: leave it 0 for the default")
	case cfg.MaxSessions < 0, cfg.MaxStreams < 0:
		return nil, errors.New("console: Config.MaxSessions or MaxStreams is negative: leave it 0 for the default")
	}
	cfg = cfg.withDefaults()
	up, err := newUpstream(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	page, err := newPage()
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, mux: http.NewServeMux(), upstream: up, page: page,
		users: newUsers(cfg.Cloud, cfg.Logger), sessions: newSessions(cfg.MaxSessions, cfg.SessionIdle, cfg.SessionLife),
		fleet: newFleet(cfg.SiteLabels), devices: newDeviceIndex(), jobs: newJobIndex(),
		requests: make(chan struct{}, maxRequests), logins: make(chan struct{}, maxLogins), shares: newRequestLimit(maxRequests), streams: newStreamLimit(cfg.MaxStreams), origins: http.NewCrossOriginProtection(),
	}
	cfg.Nodes.OnChange(s.fleet.nodeChanged)
	cfg.Devices.Devices().OnChange(s.devices.changed)
	if cfg.Jobs != nil {
		cfg.Jobs.OnJob(s.jobs.jobChanged)
		cfg.Jobs.Results().OnChange(s.jobs.resultChanged)
	}
	s.routes()
	return s, nil
}

func (cfg Config) withDefaults() Config {
	if len(cfg.SiteLabels) == 0 {
		cfg.SiteLabels = []string{v1alpha1.BelongingToLabel, corev1.LabelTopologyZone}
	}
	if cfg.SessionIdle == 0 {
		cfg.SessionIdle = 30 * time.Minute
	}
	if cfg.SessionLife == 0 {
		cfg.SessionLife = 12 * time.Hour
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 4096
	}
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = 256
	}
	if cfg.Live == nil {
		cfg.Live = new(Live)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// routes registers what is served.
func (s *Server) routes() {
	s.mux.Handle("/console/", s.page)
	s.mux.Handle("GET /{$}", http.RedirectHandler("/console/", http.StatusFound))
	s.mux.Handle("GET /console", http.RedirectHandler("/console/", http.StatusFound))
	s.mux.HandleFunc(apiPath, func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, fail(http.StatusNotFound, "the console has no such path or method"))
	})
	s.mux.HandleFunc("POST "+apiPath+"session", s.login)
	s.mux.HandleFunc("DELETE "+apiPath+"session", s.logout)
	for path, h := range map[string]handler{
		"me": s.me, "summary": s.summary,
		"nodes": s.listNodes, "nodes/{name}": s.node, "nodes/{name}/pods": s.podsOfNode,
		"nodes/{name}/devices": s.devicesOfNode, "nodes/{name}/events": s.eventsOfNode,
		"devices": s.listDevices, "devices/{namespace}/{name}": s.device,
		"jobs": s.listJobs, "jobs/{kind}/{name}": s.job,
	} {
		s.mux.HandleFunc("GET "+apiPath+path, s.answer(h))
	}
	s.mux.HandleFunc("POST "+apiPath+"jobs/{kind}/{name}/{action}", s.answer(s.changeJob))
	for path, h := range map[string]streamer{
		"stream": s.follow, "devices/{namespace}/{name}/live": s.live, "pods/{namespace}/{name}/log": s.podLog,
	} {
		s.mux.HandleFunc("GET "+apiPath+path, s.stream(h))
	}
}

// Run serves Config.Listener until ctx ends. It then ends all requests, closes the listener,
// waits for all that it started and returns nil. links returns the connection of a node to
// this cloudcore; it may be nil. A second Run returns controller.ErrStarted.
func (s *Server) Run(ctx context.Context, links func(node string) (hub.Info, bool)) error {
	if err := s.guard.Start(); err != nil {
		return err
	}
	if s.cfg.Listener == nil || s.cfg.Certificate == nil {
		return errors.New("console: Config.Listener and Certificate are required to serve")
	}
	s.mu.Lock()
	s.links = links
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var sweeper sync.WaitGroup
	sweeper.Go(func() { s.sessions.run(ctx) })
	defer sweeper.Wait()
	defer cancel()
	var active runguard.Requests
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if active.Enter() {
				defer active.Leave()
				s.ServeHTTP(w, r)
			}
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 15 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      time.Minute, // of all but streams, which have sendTime for each write
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxHTTP2},
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion:     tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.cfg.Certificate() },
		},
	}
	defer s.upstream.closeIdle()
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(netutil.LimitListener(s.cfg.Listener, maxConnections), "", "") }()
	var err error
	select {
	case <-ctx.Done():
		cancel()
		closed := server.Close()
		if err = <-ended; !errors.Is(closed, net.ErrClosed) {
			err = closed
		}
	case err = <-ended:
		cancel()
		_ = server.Close() // the listener has failed already
	}
	active.Close()
	if err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("console: %w", err)
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
	if strings.HasPrefix(r.URL.Path, apiPath) {
		h.Set("Cache-Control", "no-store")
	}
	s.mux.ServeHTTP(w, r)
}

// ready returns an error until the caches are filled.
func (s *Server) ready() error {
	all := append(s.cfg.Devices.Synced(), s.cfg.Nodes.Synced(), s.cfg.Pods.Synced())
	if s.cfg.Jobs != nil {
		all = append(all, s.cfg.Jobs.Synced()...)
	}
	for _, synced := range all {
		select {
		case <-synced:
		default:
			return fail(http.StatusServiceUnavailable, "cloudcore is still reading the fleet from the API server: try again in a few seconds")
		}
	}
	return nil
}

// request is a request of a user who is known.
type request struct {
	*http.Request
	who
}

// handler answers a request with what is written as JSON, or with an error.
type handler func(*request) (any, error)

// answer makes the handler of a path of the API.
func (s *Server) answer(h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case s.requests <- struct{}{}:
			defer func() { <-s.requests }()
		default:
			writeError(w, fail(http.StatusTooManyRequests, "the console answers as many requests as it may at a time: try again"))
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), answerTime)
		defer cancel()
		q, err := s.admit(r.WithContext(ctx))
		var v any
		if err == nil {
			v, err = s.share(q, h)
		}
		if err != nil {
			s.writeFailure(w, r, err)
			return
		}
		writeJSON(w, http.StatusOK, v)
	}
}

// share answers a request if its user has not too many under way.
func (s *Server) share(q *request, h handler) (any, error) {
	release, err := s.shares.acquire(q.user.Username)
	if err != nil {
		return nil, err
	}
	defer release()
	return h(q)
}

// admit finds the user of a request. It refuses one that another site may have sent, and one
// with a name that is too long for any object: it would fill the memory of what users may do.
func (s *Server) admit(r *http.Request) (*request, error) {
	for _, name := range []string{r.PathValue("namespace"), r.PathValue("name"), r.PathValue("kind"), r.URL.Query().Get("namespace")} {
		if len(name) > maxSearch {
			return nil, fail(http.StatusBadRequest, "a name in the address is longer than %d bytes, the most that a name has", maxSearch)
		}
	}
	byCookie := r.Header.Get("Authorization") == ""
	if err := s.checkOrigin(r, byCookie); err != nil {
		return nil, err
	}
	who, err := s.identify(r, true)
	if err != nil {
		return nil, err
	}
	return &request{r, who}, nil
}

// checkOrigin refuses requests of other sites. Those with a bearer token can be sent by their
// owner only.
func (s *Server) checkOrigin(r *http.Request, byCookie bool) error {
	if r.Method != http.MethodGet && r.Header.Get(userHeader) == "" {
		return fail(http.StatusForbidden, "the header %s: 1 is needed to change something", userHeader)
	}
	if !byCookie {
		return nil
	}
	if err := s.origins.Check(r); err != nil {
		return fail(http.StatusForbidden, "the request comes from another site: open the console by its own address")
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		return fail(http.StatusForbidden, "the request comes from another site: open the console by its own address")
	}
	return nil
}
