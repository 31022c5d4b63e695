package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// host is edgecore, over its socket.
type host struct {
	client  *http.Client
	log     *slog.Logger
	maxBody int // the largest batch in bytes
}

func newHost(socket string, log *slog.Logger) *host {
	return &host{log: log.With("component", "edgecore"), client: socketClient(socket), maxBody: wire.MaxBody}
}

// socketClient is a client of a server on a unix socket.
func socketClient(socket string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "unix", socket)
		},
		MaxIdleConnsPerHost: 8, DisableCompression: true,
	}}
}

func (h *host) close() { h.client.CloseIdleConnections() }

// get opens the body of edgecore's answer, which the caller closes.
func get(ctx context.Context, client *http.Client, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edgecore"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("edgecore answered %s to GET %s", resp.Status, path)
	}
	return resp.Body, nil
}

// retryPause is how long edgecore is left alone when it does not answer.
const retryPause = time.Second

// maxSet is the largest Set in bytes.
const maxSet = 256 << 20

// stream calls apply with each Set that edgecore sends, until the stream ends.
func (h *host) stream(ctx context.Context, apply func(*wire.Set) (more bool)) error {
	answer, err := get(ctx, h.client, wire.PathPipelines)
	if err != nil {
		return err
	}
	defer answer.Close()
	body := &io.LimitedReader{R: answer}
	for d := json.NewDecoder(body); ; {
		body.N = maxSet
		var s wire.Set
		if err := d.Decode(&s); err != nil {
			return err
		}
		if !apply(&s) {
			return nil
		}
	}
}

// first returns the present Set.
func (h *host) first(ctx context.Context) (set *wire.Set, err error) {
	for try := 0; ; try++ {
		err := h.stream(ctx, func(s *wire.Set) bool { set = s; return false })
		if set != nil || ctx.Err() != nil {
			return set, nil
		}
		if try == 30 {
			return nil, fmt.Errorf("edgecore does not say what to run: %w", err)
		}
		if !sleep(ctx, retryPause) {
			return nil, nil
		}
	}
}

// follow calls apply with each Set until ctx ends.
func (h *host) follow(ctx context.Context, first *wire.Set, apply func(*wire.Set)) error {
	apply(first)
	for {
		err := h.stream(ctx, func(s *wire.Set) bool { apply(s); return true })
		if ctx.Err() != nil || !sleep(ctx, retryPause) {
			return nil
		}
		h.log.Warn("edgecore is asked again what to run", "err", err)
	}
}

// report sends statuses.
func (h *host) report(ctx context.Context, all wire.Statuses) error {
	body, err := json.Marshal(all)
	if err != nil {
		return err
	}
	_, err = h.post(ctx, wire.PathStatus, "", body)
	return err
}

// busyError says that edgecore takes no more events for now.
type busyError struct{ text string }

func (e *busyError) Error() string { return e.text }

// answerTimeout bounds a request.
const answerTimeout = 30 * time.Second

// post sends a body and returns the status of the answer.
func (h *host) post(ctx context.Context, path, encoding string, body []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://edgecore"+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	resp, err := h.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10)) // the status says enough
	switch {
	case resp.StatusCode/100 == 2:
		return resp.StatusCode, nil
	case resp.StatusCode == http.StatusServiceUnavailable:
		return resp.StatusCode, &busyError{strings.TrimSpace(string(text))}
	}
	return resp.StatusCode, fmt.Errorf("edgecore answered %s: %s", resp.Status, strings.TrimSpace(string(text)))
}

// errTooLarge says that a batch is over what the link carries.
var errTooLarge = errors.New("the batch is larger than the link carries")

// events sends a batch for the cloud. nil means that it is durable.
func (h *host) events(ctx context.Context, namespace, name, sink, target, encoding string, count int, body []byte) error {
	if len(body) > h.maxBody {
		return errTooLarge
	}
	q := url.Values{"namespace": {namespace}, "name": {name}, "sink": {sink}, "url": {target}, "events": {strconv.Itoa(count)}}
	_, err := h.post(ctx, wire.PathEvents+"?"+q.Encode(), encoding, body)
	return err
}

// sleep waits and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
