package apiserver

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
)

// HeaderPartial is "true" in an answer that has what the node holds and not all that the cluster
// has: a list, a watch or discovery from the node's store.
const HeaderPartial = "Edgekit-Partial"

// partialAnswer says in the header of a list or watch that it is of the node's store. kubectl
// and client-go print the warning.
func (s *Server) partialAnswer(w http.ResponseWriter, res *served) {
	if res.whole {
		return
	}
	w.Header().Set(HeaderPartial, "true")
	s.warnPartial(w, res.Name)
}

// warnPartial adds the warning that there may be more of something in the cluster.
func (s *Server) warnPartial(w http.ResponseWriter, what string) {
	why := "the cloud is out of reach"
	if connected, _ := s.cfg.Connected(); connected {
		why = "this client is served from the node's store"
	}
	w.Header().Add("Warning", fmt.Sprintf(`299 edgekit "these are the %s that node %s holds, not all of the cluster: %s"`, what, s.cfg.Node, why))
}

func slogDebug(logger *slog.Logger) *log.Logger {
	return slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
}
