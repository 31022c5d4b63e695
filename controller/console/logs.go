package console

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	defaultTail = 500
	maxTail     = 10_000  // lines
	maxLog      = 8 << 20 // bytes of a log that is not followed
	logChunk    = 32 << 10
	logLife     = 12 * time.Hour // of a log that is followed
)

// podLog streams the log of a container, read with the user's own token.
func (s *Server) podLog(q *request, out *stream) error {
	query, follow, err := logQuery(q.URL.Query())
	if err != nil {
		return err
	}
	life := time.Minute
	if follow {
		life = logLife
	}
	ctx, cancel := context.WithTimeout(q.Context(), life)
	defer cancel()
	// The API server must answer soon, though the log may go on for long.
	late := time.AfterFunc(answerTime, cancel)
	answer, err := s.upstream.do(ctx, q.token, call{
		method: http.MethodGet, query: query,
		path: []string{"api", "v1", "namespaces", q.PathValue("namespace"), "pods", q.PathValue("name"), "log"},
	})
	late.Stop()
	if err != nil {
		if q.Context().Err() == nil && ctx.Err() != nil {
			return errAway
		}
		return err
	}
	defer answer.Body.Close()
	out.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	out.w.Header().Set("X-Accel-Buffering", "no") // nginx
	out.opened = true
	out.w.WriteHeader(http.StatusOK)
	if !out.flush() {
		return nil
	}
	defer context.AfterFunc(ctx, func() { _ = answer.Body.Close() })() // ends a Read that waits
	return out.copy(answer.Body.Read)
}

// copy sends what read gives until it ends or the client is gone.
func (o *stream) copy(read func([]byte) (int, error)) error {
	chunk := make([]byte, logChunk)
	for {
		n, err := read(chunk)
		if n > 0 {
			o.out.Write(chunk[:n])
			if !o.flush() {
				return nil
			}
		}
		if err != nil {
			return nil // the log's end, or the API server's: the client has what there is
		}
	}
}

// logQuery makes the query of a log for the API server.
func logQuery(in url.Values) (out url.Values, follow bool, err error) {
	tail := defaultTail
	if text := in.Get("tail"); text != "" {
		if tail, err = strconv.Atoi(text); err != nil || tail < 0 || tail > maxTail {
			return nil, false, fail(http.StatusBadRequest, "tail must be 0 to %d", maxTail)
		}
	}
	out = url.Values{"tailLines": {strconv.Itoa(tail)}}
	if container := in.Get("container"); container != "" {
		if len(container) > maxSearch {
			return nil, false, fail(http.StatusBadRequest, "container is longer than any name")
		}
		out.Set("container", container)
	}
	follow = in.Get("follow") == "1" || in.Get("follow") == "true"
	if follow {
		out.Set("follow", "true")
	} else {
		out.Set("limitBytes", strconv.Itoa(maxLog))
	}
	if in.Get("previous") == "1" || in.Get("previous") == "true" {
		out.Set("previous", "true")
	}
	return out, follow, nil
}
