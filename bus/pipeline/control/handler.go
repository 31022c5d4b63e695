package control

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// Runner is what runs pipelines; *pipeline.Runner is one.
type Runner interface {
	pipeline.Tapper
	Status() []pipeline.Status
	// PushTo gives events to a source or step, and returns when what comes of them is durable.
	PushTo(ctx context.Context, ref pipeline.Ref, step string, events []pipeline.Event) error
}

// Queues look into the queues of sinks and into dead letters. What there is not gives an error that
// wraps pipeline.ErrNotFound.
type Queues interface {
	// Export calls show with each event that waits for a sink, the oldest first. Nothing is removed.
	Export(ctx context.Context, ref pipeline.Ref, sink string, show func(pipeline.Event) error) error
	// Drop removes the events that were appended before a time, or all if it is zero, and returns how many.
	Drop(ctx context.Context, ref pipeline.Ref, sink string, before time.Time) (int64, error)
	// ReplaySent has the events sent again that were stored in a time and sent since, as far as they
	// are kept (queue.keep of the sink), and returns how many. A zero to means now.
	ReplaySent(ctx context.Context, ref pipeline.Ref, sink string, from, to time.Time) (int64, error)
	// DeadLetters calls show with each dead letter of a pipeline, the oldest first. Its id stays the
	// same while it is kept. show may remove dead letters; it gets none that is added meanwhile.
	DeadLetters(ctx context.Context, ref pipeline.Ref, show func(id string, l pipeline.DeadLetter) error) error
	// DropDead removes the dead letters with the ids, or all of the pipeline if there are none.
	DropDead(ctx context.Context, ref pipeline.Ref, ids []string) (int64, error)
	// Replay puts the dead letters of sinks with the ids, or all, into the sinks' queues again, and
	// removes them. Those that it cannot put there stay.
	Replay(ctx context.Context, ref pipeline.Ref, ids []string) (int64, error)
}

// Bounds of a request.
const (
	maxIDs   = 1000
	maxBytes = pipeline.MaxEvent // of an event's data that a tap shows
	maxRate  = 10_000            // events a second that a tap shows
)

// Config sets up a Handler. Runner is required.
type Config struct {
	Runner Runner
	Queues Queues       // nil: the program keeps no queues, and says so with 501
	More   http.Handler // serves other paths, /metrics for example; nil means 404
}

// Handler serves the interface. It is an http.Handler.
type Handler struct {
	cfg Config
	mux http.ServeMux
}

// New returns a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Runner == nil {
		return nil, errors.New("bus/pipeline/control: Config.Runner is required")
	}
	h := &Handler{cfg: cfg}
	h.mux.HandleFunc("GET /v1/status", h.status)
	h.mux.HandleFunc("GET /v1/tap", h.tap)
	h.mux.HandleFunc("GET /v1/queues/events", h.queues(h.export))
	h.mux.HandleFunc("DELETE /v1/queues/events", h.queues(h.drop))
	h.mux.HandleFunc("POST /v1/queues/replay", h.queues(h.replaySent))
	h.mux.HandleFunc("GET /v1/dead-letters", h.queues(h.deadLetters))
	h.mux.HandleFunc("DELETE /v1/dead-letters", h.queues(h.dropDead))
	h.mux.HandleFunc("POST /v1/dead-letters/replay", h.queues(h.replay))
	if cfg.More != nil {
		h.mux.Handle("/", cfg.More)
	}
	return h, nil
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

func (h *Handler) status(w http.ResponseWriter, _ *http.Request) {
	all := []Status{}
	for _, s := range h.cfg.Runner.Status() {
		all = append(all, statusOf(s))
	}
	answer(w, http.StatusOK, all)
}

func (h *Handler) tap(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	req := pipeline.TapRequest{Ref: ref(q), Step: q.Get("step")}
	var err error
	for _, n := range []struct {
		name string
		into *int
		max  int
	}{{"events", &req.Events, 1 << 30}, {"rate", &req.PerSec, maxRate}, {"bytes", &req.Bytes, maxBytes}} {
		if text := q.Get(n.name); text != "" && err == nil {
			if *n.into, err = strconv.Atoi(text); err != nil || *n.into < 0 || *n.into > n.max {
				err = &RequestError{http.StatusBadRequest, n.name + " must be a number of 0 to " + strconv.Itoa(n.max)}
			}
		}
	}
	if err != nil {
		refuse(w, err)
		return
	}
	lines := &lines{w: w}
	lines.end(h.cfg.Runner.Tap(r.Context(), req, func(e pipeline.TapEvent) error {
		return lines.write(TapEvent{Event: cloudEvent(&e.Event), Skipped: e.Skipped})
	}))
}

// queues refuses what needs queues if there are none.
func (h *Handler) queues(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if h.cfg.Queues == nil {
			refuse(w, &RequestError{http.StatusNotImplemented, "this program keeps no queues on the disk"})
			return
		}
		if n := len(r.URL.Query()["id"]); n > maxIDs {
			refuse(w, &RequestError{http.StatusBadRequest, "at most " + strconv.Itoa(maxIDs) + " ids in one request"})
			return
		}
		next(w, r)
	}
}

func (h *Handler) export(w http.ResponseWriter, r *http.Request) {
	q, lines := r.URL.Query(), &lines{w: w}
	lines.end(h.cfg.Queues.Export(r.Context(), ref(q), q.Get("sink"), func(e pipeline.Event) error {
		return lines.write(cloudEvent(&e))
	}))
}

func (h *Handler) drop(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	before, err := timeOf(q, "before")
	if err != nil {
		refuse(w, err)
		return
	}
	n, err := h.cfg.Queues.Drop(r.Context(), ref(q), q.Get("sink"), before)
	counted(w, n, err)
}

func (h *Handler) replaySent(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, err1 := timeOf(q, "from")
	to, err2 := timeOf(q, "to")
	if err := errors.Join(err1, err2); err != nil {
		refuse(w, err)
		return
	}
	n, err := h.cfg.Queues.ReplaySent(r.Context(), ref(q), q.Get("sink"), from, to)
	counted(w, n, err)
}

// timeOf reads a time of a query; the zero time if it is not there.
func timeOf(q url.Values, name string) (time.Time, error) {
	text := q.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil || at.IsZero() {
		return time.Time{}, &RequestError{http.StatusBadRequest, name + " must be a time as in RFC 3339"}
	}
	return at, nil
}

func (h *Handler) deadLetters(w http.ResponseWriter, r *http.Request) {
	lines := &lines{w: w}
	lines.end(h.cfg.Queues.DeadLetters(r.Context(), ref(r.URL.Query()), func(id string, l pipeline.DeadLetter) error {
		return lines.write(DeadLetter{ID: id, Step: l.Step, Reason: l.Reason, Message: l.Message, Time: l.Time, Event: cloudEvent(&l.Event)})
	}))
}

func (h *Handler) dropDead(w http.ResponseWriter, r *http.Request) {
	n, err := h.cfg.Queues.DropDead(r.Context(), ref(r.URL.Query()), r.URL.Query()["id"])
	counted(w, n, err)
}

// ref is the pipeline of a request: NAMESPACE/NAME, or NAME alone.
func ref(q url.Values) pipeline.Ref { return ParseRef(q.Get("pipeline")) }

// ParseRef reads NAMESPACE/NAME, or NAME alone for a pipeline without a namespace.
func ParseRef(text string) pipeline.Ref {
	if namespace, name, ok := strings.Cut(text, "/"); ok {
		return pipeline.Ref{Namespace: namespace, Name: name}
	}
	return pipeline.Ref{Name: text}
}

// lines writes one JSON in each line.
type lines struct {
	w     http.ResponseWriter
	begun bool
}

func (l *lines) write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	l.begin()
	if _, err := l.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return http.NewResponseController(l.w).Flush()
}

func (l *lines) begin() {
	if !l.begun {
		l.begun = true
		l.w.Header().Set("Content-Type", "application/x-ndjson")
		l.w.WriteHeader(http.StatusOK)
	}
}

// end ends the stream. An error before the first line is the answer.
func (l *lines) end(err error) {
	switch {
	case err == nil:
		l.begin()
	case l.begun:
		_ = l.write(failure{err.Error()}) // the reader may be gone
	default:
		refuse(l.w, err)
	}
}

func counted(w http.ResponseWriter, n int64, err error) {
	if err != nil {
		refuse(w, err)
		return
	}
	answer(w, http.StatusOK, count{n})
}

// refuse answers with an error.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	var request *RequestError
	switch {
	case errors.As(err, &request):
		status = request.Status
	case errors.Is(err, pipeline.ErrNotFound):
		status = http.StatusNotFound
	case errors.Is(err, pipeline.ErrNotRunning):
		status = http.StatusServiceUnavailable
	}
	answer(w, status, failure{err.Error()})
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client may be gone
}
