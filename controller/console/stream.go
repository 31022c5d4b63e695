package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
)

const (
	// sendTime is how long a client may take to read what is sent.
	sendTime = 10 * time.Second
	// beatEvery is the time between two lines that keep a connection open, and between two
	// looks whether the user may still see what is sent.
	beatEvery = 15 * time.Second
	// summaryEvery is the least time between two summaries, and between two lists of changed
	// nodes.
	summaryEvery = time.Second
	// maxChanged is how many nodes one event has.
	maxChanged = 200
)

// stream writes server-sent events, or a text, to one client. It belongs to one goroutine.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	out     bytes.Buffer
	opened  bool
}

// streamer answers a request with a stream. Errors that come before anything was written are
// answers.
type streamer func(*request, *stream) error

// stream makes the handler of a path that streams.
func (s *Server) stream(h streamer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q, err := s.admit(r)
		if err != nil {
			s.writeFailure(w, r, err)
			return
		}
		release, err := s.streams.acquire(q.user.Username)
		if err != nil {
			writeError(w, err)
			return
		}
		defer release()
		out := &stream{w: w, control: http.NewResponseController(w)}
		if err := h(q, out); err != nil && !out.opened {
			s.writeFailure(w, r, err)
		}
	}
}

// open sends the header of server-sent events.
func (o *stream) open() bool {
	o.w.Header().Set("Content-Type", "text/event-stream")
	o.w.Header().Set("X-Accel-Buffering", "no") // nginx
	o.opened = true
	o.w.WriteHeader(http.StatusOK)
	o.out.WriteString("retry: 3000\n\n")
	return o.flush()
}

// event adds an event. JSON has no line breaks, so no value can end it.
func (o *stream) event(name string, v any) {
	raw, err := json.Marshal(v)
	if err != nil { // not of the types here
		return
	}
	if name != "" {
		o.out.WriteString("event: " + name + "\n")
	}
	o.out.WriteString("data: ")
	o.out.Write(raw)
	o.out.WriteString("\n\n")
}

func (o *stream) beat() bool {
	o.out.WriteString(":\n\n")
	return o.flush()
}

// flush sends what is ready; false if the client is gone or does not read.
func (o *stream) flush() bool {
	_ = o.control.SetReadDeadline(time.Time{}) // the request has been read
	_ = o.control.SetWriteDeadline(time.Now().Add(sendTime))
	_, err := o.w.Write(o.out.Bytes())
	o.out.Reset()
	if err == nil {
		err = o.control.Flush()
	}
	// HTTP/2 ends a stream at its deadline even if nothing is written.
	_ = o.control.SetWriteDeadline(time.Time{})
	return err == nil
}

// stillMay reports whether the user of a stream is still known and has the right. While the
// API server does not answer, the stream goes on. It ends when the user, or a stranger, keeps
// cloudcore from asking: else it could outlast the right.
func (s *Server) stillMay(q *request, right authorizationv1.ResourceAttributes) bool {
	w, err := s.identify(q.Request, false)
	if err != nil {
		return errors.Is(err, errAway)
	}
	ok, err := s.may(q.Context(), w, right)
	return ok || errors.Is(err, errAway)
}

// seen returns what the user of a stream may see now. It is an error if the user is no longer
// known. While the API server does not answer, it is what it was.
func (s *Server) seen(q *request, before sight) (sight, error) {
	w, err := s.identify(q.Request, false)
	if err != nil {
		if errors.Is(err, errAway) {
			return before, nil
		}
		return before, err
	}
	now, err := s.sightOf(q.Context(), w)
	if errors.Is(err, errAway) {
		return before, nil
	}
	return now, err
}

// follow streams the summary and the nodes that change.
func (s *Server) follow(q *request, out *stream) error {
	topics := make(map[string]bool)
	for topic := range strings.SplitSeq(q.URL.Query().Get("topics"), ",") {
		if topic != "summary" && topic != "nodes" {
			return fail(http.StatusBadRequest, "topics must be summary, nodes, or both with a comma")
		}
		topics[topic] = true
	}
	if err := s.ready(); err != nil {
		return err
	}
	see, err := s.sightOf(q.Context(), q.who)
	if err != nil {
		return err
	}
	if topics["nodes"] && !see.nodes {
		return denied(q.who, nodesRight("list", ""))
	}
	seq := s.fleet.now()
	last, err := s.summaryJSON(see)
	if err != nil {
		return err
	}
	if !out.open() {
		return nil
	}
	if topics["summary"] {
		out.event("summary", last)
	}
	if !out.flush() {
		return nil
	}
	ticks := time.NewTicker(summaryEvery)
	defer ticks.Stop()
	beats := time.NewTicker(beatEvery)
	defer beats.Stop()
	for {
		select {
		case <-q.Context().Done():
			return nil
		case <-beats.C:
			if see, err = s.seen(q, see); err != nil || topics["nodes"] && !see.nodes || !out.beat() {
				return nil
			}
		case <-ticks.C:
			if topics["summary"] {
				now, err := s.summaryJSON(see)
				if err == nil && !bytes.Equal(now, last) {
					last = now
					out.event("summary", now)
				}
			}
			if topics["nodes"] {
				seq = s.sendNodes(out, seq, see)
			}
			if out.out.Len() > 0 && !out.flush() {
				return nil
			}
		}
	}
}

// changedNodes is an event with the nodes that changed.
type changedNodes struct {
	Items []nodeItem `json:"items"`
	More  bool       `json:"more"` // others changed, came or went: the list must be read again
}

// sendNodes adds what a user may see of the nodes that changed after seq, and returns up to where
// that is.
func (s *Server) sendNodes(out *stream, seq uint64, see sight) uint64 {
	names, more, now := s.fleet.since(seq, maxChanged)
	if now == seq {
		return seq
	}
	e := changedNodes{Items: make([]nodeItem, 0, len(names)), More: more}
	for _, name := range names {
		if row := s.fleet.rows.get("name", &nodeRow{name: name}); row != nil {
			e.Items = append(e.Items, s.nodeItem(row, see))
		}
	}
	out.event("nodes", e)
	return now
}
