package server

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
)

// kinds are the kinds of sessions, in the order of their metrics.
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

// export writes the counts in Prometheus' text format.
func (s *sessions) export(w io.Writer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := "# HELP edgekit_edged_sessions Logs, execs, attaches and port forwards that are open.\n# TYPE edgekit_edged_sessions gauge\n"
	for _, k := range slices.Sorted(slices.Values(kinds())) {
		out += fmt.Sprintf("edgekit_edged_sessions{kind=%q} %d\n", k, s.open[k])
	}
	out += "# HELP edgekit_edged_sessions_total Sessions that were begun.\n# TYPE edgekit_edged_sessions_total counter\n"
	for _, k := range slices.Sorted(slices.Values(kinds())) {
		out += fmt.Sprintf("edgekit_edged_sessions_total{kind=%q} %d\n", k, s.begun[k])
	}
	out += fmt.Sprintf("# HELP edgekit_edged_sessions_refused_total Sessions that were refused since too many were open.\n"+
		"# TYPE edgekit_edged_sessions_refused_total counter\nedgekit_edged_sessions_refused_total %d\n", s.refused)
	_, err := io.WriteString(w, out)
	return err
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
