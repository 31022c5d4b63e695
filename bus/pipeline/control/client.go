package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
)

// ErrNotRunning says that no program serves the socket.
var ErrNotRunning = errors.New("bus/pipeline/control: no program that runs pipelines answers at the socket")

// maxLine bounds one line of a stream: an event as a CloudEvent with what is escaped in it.
const maxLine = 8 << 20

// maxAnswer bounds the answer to what is not a stream.
const maxAnswer = 64 << 20

// RequestError is an answer that says what is wrong with a request.
type RequestError struct {
	Status  int // of HTTP
	Message string
}

func (e *RequestError) Error() string { return e.Message }

// Unwrap returns pipeline.ErrNotFound for status 404.
func (e *RequestError) Unwrap() error {
	if e.Status == http.StatusNotFound {
		return pipeline.ErrNotFound
	}
	return nil
}

// Client asks a Handler on a unix socket.
type Client struct {
	http http.Client
}

// NewClient returns a Client of the socket at path. It connects at each call and keeps no connection.
func NewClient(path string) *Client {
	return &Client{http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", path)
		},
	}}}
}

// Status returns what runs, by namespace and name.
func (c *Client) Status(ctx context.Context) ([]Status, error) {
	var all []Status
	err := c.call(ctx, http.MethodGet, "/v1/status", nil, &all)
	return all, err
}

// Tap calls show with live events until ctx ends, then returns nil, or until show returns an error
// or req.Events were shown.
func (c *Client) Tap(ctx context.Context, req pipeline.TapRequest, show func(TapEvent) error) error {
	q := url.Values{"pipeline": {req.Ref.String()}, "step": {req.Step}}
	for name, n := range map[string]int{"events": req.Events, "rate": req.PerSec, "bytes": req.Bytes} {
		if n != 0 {
			q.Set(name, strconv.Itoa(n))
		}
	}
	err := c.stream(ctx, "/v1/tap", q, func(line []byte) error {
		var e TapEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("bus/pipeline/control: %w", err)
		}
		return show(e)
	})
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Export writes what waits for a sink, one CloudEvent as JSON in each line, and returns how many.
func (c *Client) Export(ctx context.Context, ref pipeline.Ref, sink string, w io.Writer) (n int64, err error) {
	err = c.stream(ctx, "/v1/queues/events", url.Values{"pipeline": {ref.String()}, "sink": {sink}}, func(line []byte) error {
		n++
		_, err := w.Write(append(line, '\n'))
		return err
	})
	return n, err
}

// Drop drops what waits for a sink since before a time, or all if it is zero, and returns how many events.
func (c *Client) Drop(ctx context.Context, ref pipeline.Ref, sink string, before time.Time) (int64, error) {
	q := url.Values{"pipeline": {ref.String()}, "sink": {sink}}
	setTime(q, "before", before)
	return c.count(ctx, http.MethodDelete, "/v1/queues/events", q)
}

// ReplaySent has events sent again that came to a sink in a time, as far as its queue keeps them, and returns how
// many. A zero to means now.
func (c *Client) ReplaySent(ctx context.Context, ref pipeline.Ref, sink string, from, to time.Time) (int64, error) {
	q := url.Values{"pipeline": {ref.String()}, "sink": {sink}}
	setTime(q, "from", from)
	setTime(q, "to", to)
	return c.count(ctx, http.MethodPost, "/v1/queues/replay", q)
}

func setTime(q url.Values, name string, at time.Time) {
	if !at.IsZero() {
		q.Set(name, at.UTC().Format(time.RFC3339Nano))
	}
}

// DeadLetters calls show with the dead letters of a pipeline, the oldest first.
func (c *Client) DeadLetters(ctx context.Context, ref pipeline.Ref, show func(DeadLetter) error) error {
	return c.stream(ctx, "/v1/dead-letters", url.Values{"pipeline": {ref.String()}}, func(line []byte) error {
		var l DeadLetter
		if err := json.Unmarshal(line, &l); err != nil {
			return fmt.Errorf("bus/pipeline/control: %w", err)
		}
		return show(l)
	})
}

// DropDead drops dead letters by their ids, or all, and returns how many.
func (c *Client) DropDead(ctx context.Context, ref pipeline.Ref, ids ...string) (int64, error) {
	return c.count(ctx, http.MethodDelete, "/v1/dead-letters", url.Values{"pipeline": {ref.String()}, "id": ids})
}

// Replay gives dead letters back to where they failed, by their ids or all, and returns how many.
func (c *Client) Replay(ctx context.Context, ref pipeline.Ref, ids ...string) (int64, error) {
	return c.count(ctx, http.MethodPost, "/v1/dead-letters/replay", url.Values{"pipeline": {ref.String()}, "id": ids})
}

// count reads an answer that is a count.
func (c *Client) count(ctx context.Context, method, path string, q url.Values) (int64, error) {
	var n count
	err := c.call(ctx, method, path, q, &n)
	return n.Count, err
}

// call reads an answer of one JSON.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, into any) error {
	resp, err := c.do(ctx, method, path, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("bus/pipeline/control: %w", err)
	}
	return nil
}

// stream calls show with each line of an answer. It returns the error of a last line that has one.
func (c *Client) stream(ctx context.Context, path string, q url.Values, show func(line []byte) error) error {
	resp, err := c.do(ctx, http.MethodGet, path, q)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	scanner := bufio.NewScanner(resp.Body)
	scanner.Buffer(nil, maxLine)
	for scanner.Scan() {
		line := scanner.Bytes()
		var f failure
		if bytes.HasPrefix(line, []byte(`{"error":`)) && json.Unmarshal(line, &f) == nil {
			return &RequestError{http.StatusInternalServerError, f.Error}
		}
		if err := show(line); err != nil {
			return err
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("bus/pipeline/control: %w", err)
	}
	return nil
}

// do sends a request. The answer has status 200.
func (c *Client) do(ctx context.Context, method, path string, q url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://edgepipe"+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, fmt.Errorf("bus/pipeline/control: %w", err)
	}
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrNotRunning
	case err != nil:
		return nil, fmt.Errorf("bus/pipeline/control: %w", err)
	case resp.StatusCode == http.StatusOK:
		return resp, nil
	}
	defer resp.Body.Close()
	var f failure
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || json.Unmarshal(body, &f) != nil || f.Error == "" {
		f.Error = "the program answers with " + resp.Status
	}
	return nil, &RequestError{resp.StatusCode, f.Error}
}
