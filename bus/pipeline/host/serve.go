package host

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/apiserver"
)

// maxStatuses is the largest body of Statuses.
const maxStatuses = 8 << 20

// serve serves edgepipe until ctx ends.
func (h *Host) serve(ctx context.Context) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.PathPipelines, h.servePipelines)
	mux.HandleFunc("POST "+wire.PathStatus, h.serveStatus)
	mux.HandleFunc("POST "+wire.PathEvents, h.serveEvents)
	for ctx.Err() == nil {
		if err := h.listen(ctx, mux); err != nil && ctx.Err() == nil {
			h.log.Error("the socket for edgepipe cannot be served; trying again", "err", err)
			sleep(ctx, retryPause)
		}
	}
}

// listen serves until ctx ends, and then joins the connections: a handler must not use the store
// after Run.
func (h *Host) listen(ctx context.Context, handler http.Handler) error {
	l, err := apiserver.ListenSocket(ctx, filepath.Join(h.cfg.Folder, wire.HostSocket), h.log)
	if err != nil {
		return err
	}
	var connections sync.WaitGroup
	defer connections.Wait()
	s := &http.Server{Handler: handler, ReadHeaderTimeout: 15 * time.Second, MaxHeaderBytes: 16 << 10, BaseContext: func(net.Listener) context.Context { return ctx }}
	s.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			connections.Add(1)
		case http.StateClosed, http.StateHijacked:
			connections.Done()
		case http.StateActive, http.StateIdle:
		}
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// gather is how long changes of the Set are gathered: those of one kubectl apply come together.
const gather = 200 * time.Millisecond

// servePipelines streams the Set.
func (h *Host) servePipelines(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/jsonl")
	out := http.NewResponseController(w)
	for {
		set, changed := h.set()
		if json.NewEncoder(w).Encode(set) != nil || out.Flush() != nil {
			return // edgepipe has gone
		}
		select {
		case <-changed:
		case <-req.Context().Done():
			return
		}
		if !sleep(req.Context(), gather) {
			return
		}
	}
}

// serveStatus takes what edgepipe says of its Pipelines.
func (h *Host) serveStatus(w http.ResponseWriter, req *http.Request) {
	var all wire.Statuses
	if err := json.NewDecoder(http.MaxBytesReader(w, req.Body, maxStatuses)).Decode(&all); err != nil {
		http.Error(w, "statuses cannot be read: "+err.Error(), http.StatusBadRequest)
		return
	}
	version := wire.Clip(all.Version, wire.MaxWord)
	h.mu.Lock()
	changed := version != h.version
	h.version = version
	for _, s := range all.Statuses {
		key := meta.Key{Resource: wire.Pipelines, Namespace: s.Namespace, Name: s.Name}
		if p := h.pipelines[key]; p != nil && !p.tooMany {
			h.statuses[key] = s.Report
		}
	}
	other := h.otherVersionLocked()
	h.mu.Unlock()
	if changed && other != "" {
		h.log.Warn("edgepipe is of another release than edgecore; pipelines run all the same", "edgepipe", version, "edgecore", h.cfg.Version,
			"remedy", "install the package edgekit-edgecore of edgecore's release")
	}
	h.notify()
	w.WriteHeader(http.StatusNoContent)
}

// serveEvents stores one batch of events for the cloud.
func (h *Host) serveEvents(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	b := wire.Batch{Sink: q.Get("sink"), URL: q.Get("url"), Encoding: req.Header.Get("Content-Encoding")}
	var err error
	b.Events, err = strconv.Atoi(q.Get("events"))
	key := meta.Key{Resource: wire.Pipelines, Namespace: q.Get("namespace"), Name: q.Get("name")}
	h.mu.Lock()
	known := h.pipelines[key] != nil
	h.mu.Unlock()
	switch {
	case err != nil || b.Sink == "" || b.Events < 1 || b.Events > wire.MaxEvents:
		http.Error(w, "the query must have namespace, name, sink, url and events", http.StatusBadRequest)
		return
	case !known:
		http.Error(w, "the node has no such pipeline", http.StatusNotFound)
		return
	}
	body, failed := io.ReadAll(http.MaxBytesReader(w, req.Body, wire.MaxBody))
	if failed != nil {
		http.Error(w, "the batch is too large: "+failed.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	b.Body = body
	if _, err := wire.DecodeBatch(b.Encode()); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch err := h.append(req.Context(), key, &b); {
	case errors.Is(err, errFull):
		h.counts.refused.Add(1)
		w.Header().Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	default:
		h.counts.batches.Add(1)
		w.WriteHeader(http.StatusNoContent)
	}
}

// errFull says that so much waits for the cloud that edgepipe keeps its events.
var errFull = errors.New("bus/pipeline/host: the batches before wait for the cloud")

// hardLimit is how many times Config.MaxBytes wait at most, with those of sinks that have one
// batch each.
const hardLimit = 4

// append stores a batch unless too many wait. Batches are stored one at a time: the queues would
// drop the oldest if several were stored at once that fit one by one.
func (h *Host) append(ctx context.Context, key meta.Key, b *wire.Batch) error {
	select {
	case h.writing <- struct{}{}:
		defer func() { <-h.writing }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	name := key.Namespace + "/" + key.Name + "/" + b.Sink
	events, total, err := h.queues.Waiting(ctx, name)
	if err != nil {
		return err
	}
	if events >= h.cfg.MaxBatches || events > 0 && total >= h.cfg.MaxBytes || total >= hardLimit*h.cfg.MaxBytes {
		return errFull
	}
	key.Resource = wire.Events
	return h.queues.Append(ctx, name, key, b.Encode())
}
