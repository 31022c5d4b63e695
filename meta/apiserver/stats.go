package apiserver

import (
	"bufio"
	"cmp"
	"net"
	"net/http"
	"slices"
	"sync"
)

// Source is who answered a request.
type Source string

const (
	// SourceLocal are answers of the node, from its store or its kubelet API.
	SourceLocal Source = "local"
	// SourceCloud are answers of the API server, which came through the link.
	SourceCloud Source = "cloud"
)

// RequestCount is how many requests had one outcome.
type RequestCount struct {
	Source Source
	Code   int // the HTTP status
	Count  uint64
}

// Stats are what a Server counts. The counters begin at 0 with the program.
type Stats struct {
	Requests []RequestCount // answered requests, by source and status
	Streams  int            // requests that are open at the API server now, watches among them
	Watches  int            // watches that are served from the store now
	Refused  uint64         // requests that got 429 because of a limit
	FellBack uint64         // reads that the store answered because the link was lost under way
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	out := Stats{Streams: s.passing.open(), Watches: s.watches.open()}
	s.counts.mu.Lock()
	defer s.counts.mu.Unlock()
	out.Refused, out.FellBack = s.counts.refused, s.counts.fellBack
	for k, n := range s.counts.requests {
		out.Requests = append(out.Requests, RequestCount{k.source, k.code, n})
	}
	slices.SortFunc(out.Requests, func(a, b RequestCount) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Code, b.Code))
	})
	return out
}

// counts are the counters of a Server. There are few sources and statuses, so the map is small.
type counts struct {
	mu                sync.Mutex
	requests          map[outcome]uint64
	refused, fellBack uint64
}

type outcome struct {
	source Source
	code   int
}

func (c *counts) answered(source Source, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.requests == nil {
		c.requests = make(map[outcome]uint64)
	}
	if code < 100 || code > 599 {
		code = 0
	}
	c.requests[outcome{source, code}]++
	if source == SourceLocal && code == http.StatusTooManyRequests {
		c.refused++
	}
}

func (c *counts) fallBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fellBack++
}

// response is the ResponseWriter of one request. It counts the answer when its status is sent.
type response struct {
	http.ResponseWriter
	counts *counts
	source Source
	sent   bool
}

// WriteHeader sends the status.
func (w *response) WriteHeader(code int) {
	if !w.sent && (code >= 200 || code == http.StatusSwitchingProtocols) {
		w.sent = true
		w.counts.answered(w.source, code)
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *response) Write(b []byte) (int, error) {
	if !w.sent {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Flush is for handlers that do not use http.ResponseController.
func (w *response) Flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// Hijack gives the connection to an upgraded request.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !w.sent {
		w.sent = true
		w.counts.answered(w.source, http.StatusSwitchingProtocols)
	}
	return http.NewResponseController(w.ResponseWriter).Hijack()
}

// Unwrap lets http.ResponseController through.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
