package outbound

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/internal/compress"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// Bounds of requests.
const (
	requestTimeout = 30 * time.Second
	maxAnswer      = 64 << 10 // is read, so that the connection can be used again
)

// Client posts to one URL. Send is called by one goroutine; Close by any.
type Client struct {
	// TokenScheme stands before a token in the header Authorization; "" means Bearer. It is set
	// before the first request.
	TokenScheme string

	env     pipeline.Env
	sink    *v1alpha1.Sink
	url     string
	header  http.Header
	packing compress.Kind

	mu        sync.Mutex
	transport http.RoundTripper // nil before the first request
	own       *http.Transport   // nil if transport is the program's
}

// NewClient makes a Client. It does no I/O: the Secret is read with the first request.
func NewClient(env pipeline.Env, sink *v1alpha1.Sink, u *url.URL, header map[string]v1alpha1.Text) (*Client, error) {
	c := &Client{env: env, sink: sink, url: u.String(), header: make(http.Header)}
	if sink.Batch != nil {
		kind, err := compress.Parse(sink.Batch.Compression)
		if err != nil {
			return nil, fmt.Errorf("batch.compression: %w", err)
		}
		c.packing = kind
	}
	for name, value := range header {
		switch key := http.CanonicalHeaderKey(name); key {
		case "Authorization", "Proxy-Authorization", "Cookie":
			return nil, fmt.Errorf("headers: %s is a credential: put username and password, or token, into a Secret and name it in secretRef", key)
		case "Host", "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection", "Upgrade", "Te", "Trailer":
			return nil, fmt.Errorf("headers: %s is set by the sink: leave it out", key)
		default:
			if !validHeader(name, string(value)) {
				return nil, fmt.Errorf("headers: %.80q has characters that no header has", name)
			}
			c.header.Set(key, string(value))
		}
	}
	return c, nil
}

// validHeader reports whether name and value may be in a header (RFC 9110, section 5).
func validHeader(name, value string) bool {
	for i := range len(name) {
		b := name[i]
		if b <= ' ' || b >= 0x7f || bytes.IndexByte([]byte(`"(),/:;<=>?@[\]{}`), b) >= 0 {
			return false
		}
	}
	for i := range len(value) {
		if b := value[i]; b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return name != ""
}

// prepare makes the transport and reads the credentials.
func (c *Client) prepare(ctx context.Context) (http.RoundTripper, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.transport != nil {
		return c.transport, nil
	}
	cred, err := Load(ctx, c.env, c.sink)
	if err != nil {
		return nil, err
	}
	header := c.header.Clone()
	switch {
	case cred.Token != "":
		header.Set("Authorization", cmp.Or(c.TokenScheme, "Bearer")+" "+cred.Token)
	case cred.Username != "":
		r := http.Request{Header: header}
		r.SetBasicAuth(cred.Username, cred.Password)
	}
	if !validHeader("Authorization", header.Get("Authorization")) {
		return nil, fmt.Errorf("secretRef: Secret %s: the credentials have characters that no header has; is there a newline at the end?", c.sink.SecretRef.Name)
	}
	c.header = header
	if c.env.Dialer != nil && !cred.HasTLS() {
		c.transport = c.env.Dialer
		return c.transport, nil
	}
	cfg, err := cred.TLS()
	if err != nil {
		return nil, err
	}
	c.own = &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: Dialer().DialContext, TLSClientConfig: cfg, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: requestTimeout, MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost: 2, MaxIdleConns: 1, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
	}
	c.transport = c.own
	return c.transport, nil
}

// Post posts a body, compressed as the sink's batch says. An answer of 4xx that sending again
// does not mend wraps pipeline.ErrRefused. What the answer says is not part of the error: it may
// be what the receiver shows to this node alone.
func (c *Client) Post(ctx context.Context, contentType string, body []byte) error {
	_, err := c.PostAnswer(ctx, contentType, body)
	return err
}

// PostAnswer is Post for a receiver whose answer says more; at most 64 KiB of it.
func (c *Client) PostAnswer(ctx context.Context, contentType string, body []byte) ([]byte, error) {
	transport, err := c.prepare(ctx)
	if err != nil {
		return nil, err
	}
	packed, err := compress.Encode(c.packing, body)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	r.Header = c.header.Clone()
	r.Header.Set("Content-Type", contentType)
	if c.packing == compress.Gzip || c.packing == compress.Zstd {
		r.Header.Set("Content-Encoding", string(c.packing))
	}
	// Redirects are not followed: a POST would become a GET, at an address that nobody chose.
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(r)
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = fmt.Errorf("%s: %w", r.URL.Host, wrapped.Err) // without the query, in which there may be a token
	}
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(answer.Body, maxAnswer)) // the status says what counts
	return said, statusError(answer.StatusCode)
}

// statusError is the error of a status. Those that an operator mends at the other side, or that
// pass, are worth another try.
func statusError(code int) error {
	switch {
	case code/100 == 2:
		return nil
	case wire.RefusedStatus(code):
		return fmt.Errorf("%w: status %d %s", pipeline.ErrRefused, code, http.StatusText(code))
	}
	return fmt.Errorf("status %d %s", code, http.StatusText(code))
}

// Close closes the connections that are not in use.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil {
		c.own.CloseIdleConnections()
	}
	return nil
}
