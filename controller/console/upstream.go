package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/internal/summary"
)

const (
	maxAnswer = 4 << 20  // bytes of one object or list of the API server
	maxStatus = 64 << 10 // bytes of an error of it
	dialTime  = 10 * time.Second
)

// upstream asks the API server with the tokens of users, and with nothing else.
type upstream struct {
	base   *url.URL
	client *http.Client
}

func newUpstream(cfg *rest.Config) (*upstream, error) {
	own := rest.AnonymousClientConfig(cfg) // has the address and authorities, and no credentials
	own.QPS, own.Timeout = -1, 0
	base, _, err := rest.DefaultServerUrlFor(own)
	if err != nil {
		return nil, fmt.Errorf("the API server's address: %w", err)
	}
	client, err := rest.HTTPClientFor(own)
	if err != nil {
		return nil, fmt.Errorf("the API server: %w", err)
	}
	// A redirect would take the user's token to another path or host.
	one := &http.Client{Transport: client.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return &upstream{base: base, client: one}, nil
}

func (u *upstream) closeIdle() { u.client.CloseIdleConnections() }

// call is one request to the API server.
type call struct {
	method string
	path   []string // its elements: none of them can lead elsewhere
	query  url.Values
	patch  []byte // a merge patch, or nil
}

// do sends a request with the user's token. The answer is a success; its body must be closed.
func (u *upstream) do(ctx context.Context, token string, c call) (*http.Response, error) {
	for _, element := range c.path {
		if element == "" || element == "." || element == ".." {
			return nil, fail(http.StatusBadRequest, "a name is missing or is none")
		}
	}
	escaped := make([]string, len(c.path))
	for i, element := range c.path {
		escaped[i] = url.PathEscape(element)
	}
	to := u.base.JoinPath(escaped...)
	to.RawQuery = c.query.Encode()
	r, err := http.NewRequestWithContext(ctx, c.method, to.String(), bytes.NewReader(c.patch))
	if err != nil {
		return nil, fail(http.StatusBadRequest, "a name has characters that no name has")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("User-Agent", "edgekit-console")
	if c.patch != nil {
		r.Header.Set("Content-Type", "application/merge-patch+json")
	}
	answer, err := u.client.Do(r)
	if err != nil {
		if errors.Is(err, context.Canceled) {
			return nil, err
		}
		return nil, errAway
	}
	if answer.StatusCode/100 == 2 {
		return answer, nil
	}
	defer answer.Body.Close()
	return nil, refusal(answer)
}

// refusal makes the answer to the user of an error of the API server.
func refusal(answer *http.Response) error {
	raw, _ := io.ReadAll(io.LimitReader(answer.Body, maxStatus))
	var status metav1.Status
	_ = json.Unmarshal(raw, &status)
	message := summary.Shorten(status.Message, maxMessage)
	switch code := answer.StatusCode; {
	case code == http.StatusUnauthorized:
		return errUnknown
	case code == http.StatusTooManyRequests:
		return fail(code, "the API server has too much to do: try again")
	case code >= 400 && code < 500:
		if message == "" {
			message = fmt.Sprintf("the API server refuses it (%d)", code)
		}
		return fail(code, "%s", message)
	}
	return errFailed
}

// get reads an object or a list of at most maxAnswer bytes.
func (u *upstream) get(ctx context.Context, token string, path []string, query url.Values, into any) error {
	answer, err := u.do(ctx, token, call{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err != nil {
		return errAway
	}
	if len(raw) > maxAnswer {
		return fail(http.StatusRequestEntityTooLarge, "the API server's answer is larger than %d MiB", maxAnswer>>20)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return errAway
	}
	return nil
}
