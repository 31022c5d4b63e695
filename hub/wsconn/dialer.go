package wsconn

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"nhooyr.io/websocket"

	"github.com/edgekit/edgekit/hub"
)

// DialerConfig sets up a Dialer. URL and TLS are required.
type DialerConfig struct {
	// URL is the cloud's address, for example "https://cloud.example:10000".
	// "wss" is the same as "https"; without a path it means Path.
	URL string
	// TLS holds the roots that the server is checked against and the node's
	// certificate, best through GetClientCertificate, so that a renewed one is
	// used for the next connection. Versions below 1.3 are never spoken.
	TLS *tls.Config
	// Proxy picks a proxy for the address; nil asks the environment as
	// net/http does.
	Proxy func(*http.Request) (*url.URL, error)
	// DialContext opens the TCP connection to the cloud or the proxy; nil is that of a
	// net.Dialer. It is for networks that the machine's own does not reach.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

// Dialer opens connections to a Listener.
type Dialer struct {
	url   string
	tls   *tls.Config
	proxy func(*http.Request) (*url.URL, error)
	dial  func(ctx context.Context, network, addr string) (net.Conn, error)
}

// NewDialer checks cfg and makes a Dialer.
func NewDialer(cfg DialerConfig) (*Dialer, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("wsconn: DialerConfig.URL: %w", err)
	}
	switch u.Scheme {
	case "https":
	case "wss":
		u.Scheme = "https"
	default:
		return nil, fmt.Errorf("wsconn: DialerConfig.URL %q must begin with https:// or wss://", cfg.URL)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("wsconn: DialerConfig.URL %q names no host", cfg.URL)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = Path
	}
	if cfg.TLS == nil {
		return nil, errors.New("wsconn: DialerConfig.TLS is required")
	}
	d := &Dialer{url: u.String(), tls: cfg.TLS.Clone(), proxy: cfg.Proxy, dial: cfg.DialContext}
	d.tls.MinVersion = max(d.tls.MinVersion, tls.VersionTLS13)
	d.tls.NextProtos = []string{"http/1.1"} // WebSocket is an upgrade of HTTP/1.1
	if d.proxy == nil {
		d.proxy = http.ProxyFromEnvironment
	}
	if d.dial == nil {
		d.dial = (&net.Dialer{KeepAlive: -1}).DialContext
	}
	return d, nil
}

// Dial opens one connection. When the server turned it away, the error wraps a
// *hub.Error: CodeForbidden for an identity that is not a node's,
// hub.CertificateError for a certificate that it refuses, CodeUnavailable with
// RetryAfter while it is busy. A server whose certificate is not to be trusted
// gives an error that wraps a *tls.CertificateVerificationError.
func (d *Dialer) Dial(ctx context.Context) (hub.Conn, error) {
	var s *socket // set before the first byte is sent
	// The transport serves this one connection, which it hands over when the
	// server agrees to the upgrade.
	t := &http.Transport{
		Proxy: d.proxy, TLSClientConfig: d.tls,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := d.dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			s = newSocket(conn)
			return s, nil
		},
		TLSNextProto:          map[string]func(string, *tls.Conn) http.RoundTripper{},
		ResponseHeaderTimeout: time.Minute, MaxResponseHeaderBytes: 16 << 10,
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
	}
	defer t.CloseIdleConnections()
	//nolint:bodyclose // websocket.Dial has read the body; closing it is not needed
	ws, resp, err := websocket.Dial(ctx, d.url, &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: t, CheckRedirect: noRedirect}, Subprotocols: []string{subprotocol},
	})
	if err != nil {
		return nil, dialError(resp, err)
	}
	peer := hub.Peer{Transport: transport, Addr: s.RemoteAddr()}
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		peer.Certificate = resp.TLS.PeerCertificates[0]
	}
	return newConn(ws, s, peer, true, nil), nil
}

// noRedirect keeps the node's certificate from being shown elsewhere.
func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// dialError classifies an attempt that failed; resp is the server's answer if
// there was one.
func dialError(resp *http.Response, err error) error {
	if resp == nil {
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "remote error" {
			// crypto/tls keeps the type of an alert to itself.
			if alert := reflect.ValueOf(op.Err); alert.Kind() == reflect.Uint8 {
				if e := hub.CertificateError(uint8(alert.Uint())); e != nil {
					return fmt.Errorf("wsconn: %w", e)
				}
			}
		}
		return fmt.Errorf("wsconn: %w", err)
	}
	text := resp.Status
	if resp.Body != nil {
		if b, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)); len(b) > 0 {
			text = strings.TrimSpace(string(b))
		}
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("wsconn: %w", &hub.Error{Code: hub.CodeForbidden, Text: text})
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		after, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		return fmt.Errorf("wsconn: %w", &hub.Error{
			Code: hub.CodeUnavailable, Text: text, RetryAfter: time.Duration(min(max(after, 0), 3600)) * time.Second,
		})
	}
	return fmt.Errorf("wsconn: the server answered %q: %w", resp.Status, err)
}
