package server

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// kinds are the kinds of sessions.
func kinds() []string { return []string{"logs", "exec", "attach", "portforward"} }

// sessions counts the open sessions and bounds them.
type sessions struct {
	most int

	mu      sync.Mutex
	open    map[string]int
	begun   map[string]int
	refused int
	now     int
}

// begin counts a new session. It is false if there are too many.
func (s *sessions) begin(kind string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now >= s.most {
		s.refused++
		return false
	}
	if s.open == nil {
		s.open, s.begun = make(map[string]int), make(map[string]int)
	}
	s.now++
	s.open[kind]++
	s.begun[kind]++
	return true
}

// end counts a session that has ended.
func (s *sessions) end(kind string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now--
	s.open[kind]--
}

// sessionMetrics are the metrics of sessions.
type sessionMetrics struct{ open, begun, refused *prometheus.Desc }

func newSessionMetrics() sessionMetrics {
	return sessionMetrics{
		open:    prometheus.NewDesc("edgekit_edged_sessions", "Logs, execs, attaches and port forwards that are open.", []string{"kind"}, nil),
		begun:   prometheus.NewDesc("edgekit_edged_sessions_total", "Sessions that were begun.", []string{"kind"}, nil),
		refused: prometheus.NewDesc("edgekit_edged_sessions_refused_total", "Sessions that were refused since too many were open.", nil, nil),
	}
}

var _ prometheus.Collector = (*Server)(nil)

// Describe lists the Server's own metrics: sessions now, in total and refused, and requests.
func (s *Server) Describe(out chan<- *prometheus.Desc) {
	for _, c := range s.requests.all() {
		c.Describe(out)
	}
	out <- s.described.open
	out <- s.described.begun
	out <- s.described.refused
}

// Collect sends the Server's own metrics.
func (s *Server) Collect(out chan<- prometheus.Metric) {
	for _, c := range s.requests.all() {
		c.Collect(out)
	}
	c := &s.sessions
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range kinds() {
		out <- prometheus.MustNewConstMetric(s.described.open, prometheus.GaugeValue, float64(c.open[k]), k)
		out <- prometheus.MustNewConstMetric(s.described.begun, prometheus.CounterValue, float64(c.begun[k]), k)
	}
	out <- prometheus.MustNewConstMetric(s.described.refused, prometheus.CounterValue, float64(c.refused))
}

// session runs a handler as a session of that kind.
func (s *Server) session(kind string, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.sessions.begin(kind) {
			w.Header().Set("Retry-After", "1")
			http.Error(w, fmt.Sprintf("node %s has %d sessions open: close one", s.cfg.Node, s.cfg.MaxSessions), http.StatusTooManyRequests)
			return
		}
		defer s.sessions.end(kind)
		h(w, r)
	}
}
