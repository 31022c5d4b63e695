package server

import (
	"compress/gzip"
	"net/http"
	"strconv"
	"strings"
)

// textFormat is the content type of Prometheus' text format.
const textFormat = "text/plain; version=0.0.4; charset=utf-8"

// export answers with the metrics of an Exporter, compressed if the client takes that: the link to
// the node may be slow, and the names repeat.
func (s *Server) export(e Exporter) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if e == nil {
			http.Error(w, "this node has no such metrics", http.StatusNotImplemented)
			return
		}
		w.Header().Set("Content-Type", textFormat)
		var err error
		if acceptsGzip(r) {
			w.Header().Set("Content-Encoding", "gzip")
			w.Header().Set("Vary", "Accept-Encoding")
			// The level is a valid one.
			zip, _ := gzip.NewWriterLevel(w, gzip.BestSpeed)
			if err = e(r.Context(), zip); err == nil {
				err = zip.Close()
			}
		} else {
			err = e(r.Context(), w)
		}
		if err == nil || r.Context().Err() != nil {
			return
		}
		s.log.Warn("metrics could not be written", "path", r.URL.Path, "err", err)
		w.Header().Del("Content-Encoding")
		http.Error(w, err.Error(), http.StatusInternalServerError) // if nothing was sent yet
	}
}

// acceptsGzip reports whether the client takes compressed answers (RFC 9110, 12.5.3).
func acceptsGzip(r *http.Request) bool {
	for coding := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(coding, ";")
		if !strings.EqualFold(strings.TrimSpace(name), "gzip") {
			continue
		}
		text, ok := strings.CutPrefix(strings.ReplaceAll(weight, " ", ""), "q=")
		q, err := strconv.ParseFloat(text, 64)
		return !ok || err == nil && q > 0
	}
	return false
}
