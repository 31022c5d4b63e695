package console

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
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
	var watcher sync.WaitGroup
	defer func() {
		cancel()
		watcher.Wait()
	}()
	// The API server must answer soon, though the log may go on for long.
	late := time.AfterFunc(answerTime, cancel)
	answer, err := s.upstream.do(ctx, q.token, call{
		method: http.MethodGet, query: query,
		path: []string{"api", "v1", "namespaces", q.PathValue("namespace"), "pods", q.PathValue("name"), "log"},
	})
	late.Stop()
	if err != nil {
		switch {
		case q.Context().Err() == nil && ctx.Err() != nil:
			return errAway
		case errors.Is(err, errFailed): // so the API server answers when it does not reach the node
			return fail(http.StatusServiceUnavailable, "the log cannot be read: its node may have lost its link. Try again when the node is connected")
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
	if follow {
		watcher.Go(func() { s.watch(ctx, q, logRight(q.PathValue("namespace"), q.PathValue("name")), cancel) })
	}
	if err := out.copy(answer.Body.Read); err != nil && q.Context().Err() == nil {
		panic(http.ErrAbortHandler) // so that the client does not take it for the log's end
	}
	return nil
}

func logRight(namespace, pod string) authorizationv1.ResourceAttributes {
	return authorizationv1.ResourceAttributes{Verb: "get", Version: "v1", Resource: "pods", Subresource: "log", Namespace: namespace, Name: pod}
}

// watch calls end when the user of a stream is no longer known or has lost the right. It returns
// then, or when ctx ends.
func (s *Server) watch(ctx context.Context, q *request, right authorizationv1.ResourceAttributes, end func()) {
	q = &request{q.WithContext(ctx), q.who}
	beats := time.NewTicker(beatEvery)
	defer beats.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beats.C:
			if !s.stillMay(q, right) {
				end()
				return
			}
		}
	}
}

// copy sends what read gives until it ends or the client is gone. Its error is that of read.
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
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
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
