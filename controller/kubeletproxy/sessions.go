package kubeletproxy

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/hub"
)

// session is one request that is being answered.
type session struct {
	node      string
	kind      string // "logs", "exec", "attach", "portforward" or "other"
	namespace string // of the pod; empty where the request is about none
	pod       string
	container string
	user      string
	began     time.Time
	up, down  atomic.Int64 // bytes from and to the node

	client deadliner   // where the answer is written; nil before that is known
	linked atomic.Bool // a stream to the node was opened
}

// deadliner sets the deadline for writes.
type deadliner interface{ SetWriteDeadline(t time.Time) error }

// newSession reads from a request's path the kind of session and its pod.
func newSession(node, user, path string) *session {
	s := &session{node: node, user: user, kind: "other", began: time.Now()}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	kind := map[string]string{"containerLogs": "logs", "exec": "exec", "run": "exec", "attach": "attach", "portForward": "portforward"}[parts[0]]
	if kind == "" || len(parts) < 3 {
		return s
	}
	s.kind, s.namespace, s.pod = kind, parts[1], parts[2]
	if kind != "portforward" && len(parts) > 3 {
		s.container = parts[len(parts)-1]
	}
	return s
}

// sessions bounds, counts and audits sessions.
type sessions struct {
	max, maxNode int
	log          *slog.Logger

	open      *prometheus.GaugeVec
	begun     *prometheus.CounterVec
	refused   *prometheus.CounterVec
	bytes     *prometheus.CounterVec
	endpoints prometheus.Gauge
	forwarded prometheus.Counter

	mu    sync.Mutex
	now   int
	nodes map[string]map[*session]struct{}
}

func newSessions(cfg Config) (*sessions, error) {
	s := &sessions{
		max: cfg.MaxSessions, maxNode: cfg.MaxNodeSessions, log: cfg.Logger, nodes: make(map[string]map[*session]struct{}),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "edgekit_kubelet_sessions", Help: "Requests to nodes' kubelet endpoints that are being answered.",
		}, []string{"kind"}),
		begun: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgekit_kubelet_sessions_total", Help: "Requests to nodes' kubelet endpoints that were let through.",
		}, []string{"kind"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgekit_kubelet_refused_total", Help: "Requests to nodes' kubelet endpoints that were refused, or failed before the node answered.",
		}, []string{"reason"}),
		forwarded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "edgekit_kubelet_forwarded_connections_total", Help: "Connections to nodes' kubelet endpoints that followed their node to another cloudcore.",
		}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "edgekit_kubelet_bytes_total", Help: "Bytes of sessions, on the link: up is from nodes, down to nodes.",
		}, []string{"direction"}),
		endpoints: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "edgekit_kubelet_endpoints", Help: "Nodes with a kubelet endpoint on this cloudcore.",
		}),
	}
	for _, c := range []prometheus.Collector{s.open, s.begun, s.refused, s.bytes, s.endpoints, s.forwarded} {
		if err := cfg.Metrics.Register(c); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// addSession counts a session, or returns an error that names the limit reached.
func (s *sessions) addSession(v *session) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.now >= s.max:
		return fmt.Errorf("cloudcore has %d sessions open: close one", s.max)
	case len(s.nodes[v.node]) >= s.maxNode:
		return fmt.Errorf("node %s has %d sessions open: close one", v.node, s.maxNode)
	}
	s.now++
	if s.nodes[v.node] == nil {
		s.nodes[v.node] = make(map[*session]struct{})
	}
	s.nodes[v.node][v] = struct{}{}
	s.open.WithLabelValues(v.kind).Inc()
	s.begun.WithLabelValues(v.kind).Inc()
	return nil
}

// endSession removes the session and logs it. Requests for metrics come every minute
// and from no person: they are logged at the debug level.
func (s *sessions) endSession(ctx context.Context, v *session, status int) {
	s.mu.Lock()
	s.now--
	if delete(s.nodes[v.node], v); len(s.nodes[v.node]) == 0 {
		delete(s.nodes, v.node)
	}
	s.mu.Unlock()
	s.open.WithLabelValues(v.kind).Dec()
	s.bytes.WithLabelValues("up").Add(float64(v.up.Load()))
	s.bytes.WithLabelValues("down").Add(float64(v.down.Load()))
	level := slog.LevelInfo
	if v.kind == "other" {
		level = slog.LevelDebug
	}
	s.log.Log(ctx, level, "session", "kind", v.kind, "user", v.user, "node", v.node, "namespace", v.namespace, "pod", v.pod,
		"container", v.container, "status", status, "took", time.Since(v.began).Round(time.Millisecond), "up", v.up.Load(), "down", v.down.Load())
}

// boundReads bounds how long the clients of a node may take to read what came
// before the node's link was lost. A client that does not read would not notice
// the loss, and its session would last as long as its connection.
func (s *sessions) boundReads(node string, grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.nodes[node] {
		if v.linked.Load() && v.client != nil {
			_ = v.client.SetWriteDeadline(time.Now().Add(grace)) // fails where it has ended
		}
	}
}

type sessionKey struct{}

func withSession(ctx context.Context, v *session) context.Context {
	return context.WithValue(ctx, sessionKey{}, v)
}

// counted counts a stream's bytes in the session of ctx.
func counted(ctx context.Context, st hub.Stream) hub.Stream {
	v, ok := ctx.Value(sessionKey{}).(*session)
	if !ok {
		return st
	}
	v.linked.Store(true)
	return &countedStream{st, v}
}

type countedStream struct {
	hub.Stream
	session *session
}

func (c *countedStream) Read(p []byte) (int, error) {
	n, err := c.Stream.Read(p)
	c.session.up.Add(int64(n))
	return n, err
}

func (c *countedStream) Write(p []byte) (int, error) {
	n, err := c.Stream.Write(p)
	c.session.down.Add(int64(n))
	return n, err
}
