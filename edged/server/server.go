package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/crilog"
	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/runtime"
)

// Pods is what the node runs; *edged.Agent is one. What it returns belongs to
// the caller.
type Pods interface {
	// Pods lists the pods with their newest statuses.
	Pods() []*corev1.Pod
	// Pod is one of them, nil if it is not on the node.
	Pod(namespace, name string) *corev1.Pod
	// LogFile is where the runtime writes what the container says.
	LogFile(pod *corev1.Pod, container string, attempt uint32) string
}

// Runtime is what a Server needs of the container runtime.
type Runtime interface {
	runtime.Streams
	// ListContainers lists the containers of one pod, or all.
	ListContainers(ctx context.Context, podUID string) ([]runtime.Container, error)
	// ListSandboxes lists the sandboxes of one pod, or all.
	ListSandboxes(ctx context.Context, podUID string) ([]runtime.Sandbox, error)
}

// Exporter writes metrics in Prometheus' text format.
type Exporter func(ctx context.Context, w io.Writer) error

// Config sets up a Server. Node, Pods and Runtime are required.
type Config struct {
	Node    string // the Node's name
	Pods    Pods
	Runtime Runtime

	// Summary answers /stats/summary with what it returns, as JSON. nil
	// answers 501, as do the exporters that are nil.
	Summary  func(ctx context.Context) (any, error)
	Resource Exporter               // answers /metrics/resource
	Cadvisor Exporter               // answers /metrics/cadvisor
	Probes   Exporter               // answers /metrics/probes
	SLIs     []prometheus.Collector // on /metrics/slis; nil for none
	Metrics  []prometheus.Collector // on /metrics besides the Server's own metrics; nil for none
	Settings any                    // what /configz shows as JSON; nil shows an empty object
	// Ready answers /readyz: 200 if it returns nil, else 503 with the error. nil is always ready.
	Ready func(context.Context) error

	// Handlers are further paths of GET requests below /debug/ and /logs/, for example
	// "/debug/status". The kubelet's API has the right nodes/proxy for the former and nodes/log
	// for the latter. nil for none.
	Handlers map[string]http.Handler

	// MaxSessions is how many logs, execs, attaches and port forwards may be
	// open at the same time; one more gets status 429. 0 means 4096.
	MaxSessions int
	// Look is how often a follower of logs looks whether its container still
	// runs. 0 means 1 second.
	Look   time.Duration
	Logger *slog.Logger // nil discards
}

// Server is the kubelet's HTTP API. It is an http.Handler, and a
// prometheus.Collector of its own metrics.
type Server struct {
	cfg       Config
	log       *slog.Logger
	mux       *http.ServeMux
	watcher   *crilog.Watcher
	guard     lifecycle.Guard
	sessions  sessions
	described sessionMetrics
	requests  *requests
	metrics   http.Handler
	slis      http.Handler
	proxy     http.RoundTripper
}

// New checks cfg and makes a Server. It does no I/O.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Node == "":
		return nil, errors.New("server: Config.Node is required")
	case cfg.Pods == nil:
		return nil, errors.New("server: Config.Pods is required")
	case cfg.Runtime == nil:
		return nil, errors.New("server: Config.Runtime is required")
	case cfg.MaxSessions < 0, cfg.Look < 0:
		return nil, errors.New("server: a limit in Config is negative: leave it 0 for the default")
	}
	for path := range cfg.Handlers {
		if !strings.HasPrefix(path, "/debug/") && !strings.HasPrefix(path, "/logs/") || strings.ContainsAny(path, "{} ") {
			return nil, fmt.Errorf("server: Config.Handlers: %q must begin with /debug/ or /logs/", path)
		}
	}
	if cfg.MaxSessions == 0 {
		cfg.MaxSessions = 4096
	}
	if cfg.Look == 0 {
		cfg.Look = time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, mux: http.NewServeMux(), watcher: crilog.NewWatcher(),
		proxy: &http.Transport{DisableKeepAlives: true, DisableCompression: true, ResponseHeaderTimeout: 30 * time.Second},
	}
	s.sessions.most, s.described, s.requests = cfg.MaxSessions, newSessionMetrics(), newRequests()
	var err error
	if s.metrics, err = handlerOf(append([]prometheus.Collector{s}, cfg.Metrics...)); err != nil {
		return nil, fmt.Errorf("server: Config.Metrics: %w", err)
	}
	if s.slis, err = handlerOf(cfg.SLIs); err != nil {
		return nil, fmt.Errorf("server: Config.SLIs: %w", err)
	}
	s.routes()
	return s, nil
}

// maxScrapes is how many scrapes are answered at a time: further ones get 503.
const maxScrapes = 4

// handlerOf answers with the metrics of collectors.
func handlerOf(all []prometheus.Collector) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, c := range all {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError}), nil
}

// Run wakes followers of logs as soon as there is something new, until ctx ends;
// it then returns nil. While it does not run, followers look every Config.Look. A
// second call returns edged.ErrStarted.
func (s *Server) Run(ctx context.Context) error {
	if err := s.guard.Start(); err != nil {
		return err
	}
	if err := s.watcher.Run(ctx); err != nil {
		s.log.Warn("log files are no longer watched; followers look now and then", "err", err)
		<-ctx.Done()
	}
	return nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer s.requests.count(r)()
	s.mux.ServeHTTP(w, r)
}

// routes are the paths of the kubelet's API that Kubernetes' own components use.
func (s *Server) routes() {
	s.mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.session("logs", s.logs))
	for _, method := range []string{"GET", "POST"} {
		s.mux.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", s.session("exec", s.exec))
		s.mux.HandleFunc(method+" /exec/{namespace}/{pod}/{uid}/{container}", s.session("exec", s.exec))
		s.mux.HandleFunc(method+" /attach/{namespace}/{pod}/{container}", s.session("attach", s.attach))
		s.mux.HandleFunc(method+" /attach/{namespace}/{pod}/{uid}/{container}", s.session("attach", s.attach))
		s.mux.HandleFunc(method+" /portForward/{namespace}/{pod}", s.session("portforward", s.portForward))
		s.mux.HandleFunc(method+" /portForward/{namespace}/{pod}/{uid}", s.session("portforward", s.portForward))
	}
	s.mux.HandleFunc("GET /pods", s.pods)
	s.mux.HandleFunc("GET /pods/{$}", s.pods)
	s.mux.HandleFunc("GET /runningpods", s.runningPods)
	s.mux.HandleFunc("GET /runningpods/{$}", s.runningPods)
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /healthz/{check}", s.health)
	s.mux.HandleFunc("GET /readyz", s.ready)
	s.mux.HandleFunc("GET /configz", s.configz)
	s.mux.HandleFunc("GET /stats/summary", s.summary)
	s.mux.Handle("GET /metrics", s.metrics)
	s.mux.HandleFunc("GET /metrics/resource", s.export(s.cfg.Resource))
	s.mux.HandleFunc("GET /metrics/cadvisor", s.export(s.cfg.Cadvisor))
	s.mux.Handle("GET /metrics/slis", s.slis)
	s.mux.HandleFunc("GET /metrics/probes", s.export(s.cfg.Probes))
	for path, handler := range s.cfg.Handlers {
		s.mux.Handle("GET "+path, handler)
	}
}

// pods lists what the node must run, with the statuses that it reports.
func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{}}
	for _, p := range s.cfg.Pods.Pods() {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, list)
}

// runningPods lists what runs in the runtime, whoever started it.
func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	all, err := s.cfg.Runtime.ListContainers(r.Context(), "")
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{}}
	at := make(map[string]int)
	for _, c := range all {
		if c.State != runtime.ContainerRunning {
			continue
		}
		i, ok := at[c.PodUID]
		if !ok {
			i = len(list.Items)
			at[c.PodUID] = i
			pod := corev1.Pod{}
			pod.Name, pod.Namespace, pod.UID = c.Labels[runtime.LabelPodName], c.Labels[runtime.LabelPodNamespace], uid(c.PodUID)
			list.Items = append(list.Items, pod)
		}
		list.Items[i].Spec.Containers = append(list.Items[i].Spec.Containers, corev1.Container{Name: c.Name, Image: c.ImageID})
	}
	writeJSON(w, list)
}

// health answers that the program is alive. The state of the node is in its
// conditions.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("check") {
	case "", "ping", "log", "syncloop":
		_, _ = io.WriteString(w, "ok") // a client that has gone needs no answer
	default:
		http.NotFound(w, r)
	}
}

// ready answers whether the node's program can do its work. A node without a link to the cloud can.
func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(r.Context()); err != nil {
			fail(w, http.StatusServiceUnavailable, err)
			return
		}
	}
	_, _ = io.WriteString(w, "ok") // a client that has gone needs no answer
}

// configz shows the settings of the program.
func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	settings := s.cfg.Settings
	if settings == nil {
		settings = struct{}{}
	}
	writeJSON(w, map[string]any{"edgecore": settings})
}

// summary is /stats/summary:
// https://kubernetes.io/docs/reference/instrumentation/node-metrics/
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Summary == nil {
		http.Error(w, "this node has no metrics", http.StatusNotImplemented)
		return
	}
	sum, err := s.cfg.Summary(r.Context())
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	writeJSON(w, sum)
}

// writeJSON answers with a value as JSON.
func writeJSON(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // a client that has gone needs no answer
}

// fail answers with an error as the kubelet does: its text and nothing else.
func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprint(w, err)
}
