package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Bounds of calls of URLs.
const (
	tryTimeout  = 30 * time.Second // one try of an event
	maxTries    = 256              // tries at once
	perHost     = 16               // connections to one host
	maxErrorLen = 256              // bytes of an answer that go into an error
)

// TargetsConfig sets up Targets.
type TargetsConfig struct {
	CAs     *x509.CertPool // authorities of https:// URLs; nil means the system's
	Local   bool           // URLs at addresses of this machine, and link-local ones, may be called
	Timeout time.Duration  // bounds the wait for an answer; 0 is no bound besides that of a try
	// Dial opens a connection, in place of a net.Dialer and of Local; for tests in virtual time.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Who may not call local addresses, and what setting allows it: for an error.
	Who, Setting string
}

// Targets calls URLs that users name.
type Targets struct {
	events *http.Transport // for events, which are POSTs
	calls  *http.Transport // for requests of programs on nodes
	places chan struct{}
}

// NewTargets makes Targets. Close ends their idle connections.
func NewTargets(cfg TargetsConfig) *Targets {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if !cfg.Local {
		dialer.Control = func(_, address string, _ syscall.RawConn) error { return cfg.refuseLocal(address) }
	}
	if cfg.Dial == nil {
		cfg.Dial = dialer.DialContext
	}
	transport := func(keep bool) *http.Transport {
		return &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: cfg.Dial,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.CAs},
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: cfg.Timeout, MaxResponseHeaderBytes: 128 << 10,
			MaxConnsPerHost: perHost, MaxIdleConnsPerHost: 2, MaxIdleConns: 100, IdleConnTimeout: 30 * time.Second,
			DisableCompression: true,
			// net/http sends a GET again when a kept connection was closed: there must be
			// exactly one call. It does not do so with a POST that was sent.
			DisableKeepAlives: !keep,
		}
	}
	return &Targets{events: transport(true), calls: transport(false), places: make(chan struct{}, maxTries)}
}

// Calls is the transport for requests of which each must be exactly one call.
func (t *Targets) Calls() http.RoundTripper { return t.calls }

// Close ends idle connections.
func (t *Targets) Close() {
	t.events.CloseIdleConnections()
	t.calls.CloseIdleConnections()
}

// refuseLocal refuses connections to this machine and its link: a URL of a user must not
// reach what is there for cloudcore or its machine alone.
func (cfg TargetsConfig) refuseLocal(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return fmt.Errorf("%s may not call %s, an address of cloudcore's machine or link: cloudcore --%s allows it", cfg.Who, ip, cfg.Setting)
	}
	return nil
}

// ParseTarget reads a URL of a user.
func ParseTarget(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("it is no URL")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return nil, errors.New("it must be an absolute URL, http:// or https://, without user and password")
	}
	return u, nil
}

// SendError is why a URL did not take an event.
type SendError struct {
	Text   string
	Status int           // of the target's answer; 0 for none
	After  time.Duration // what the target's Retry-After says; 0 says nothing
	Final  bool          // another try has the same end
}

func (e *SendError) Error() string { return e.Text }

// Send sends an event once, as the request that prepare makes. nil means that the URL has
// answered with a 2xx status; an error is a *SendError, or that of ctx while it waits for a
// place.
func (t *Targets) Send(ctx context.Context, prepare func(context.Context) (*http.Request, error)) error {
	select {
	case t.places <- struct{}{}:
		defer func() { <-t.places }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := prepare(ctx)
	if err != nil {
		return &SendError{Text: err.Error(), Final: true}
	}
	transport := t.events
	if req.Method != http.MethodPost {
		transport = t.calls
	}
	resp, err := transport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return &SendError{Text: err.Error()}
	}
	defer resp.Body.Close()
	head, err := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	text := fmt.Sprintf("%s answered %s", req.URL.Redacted(), resp.Status)
	if said := strings.ToValidUTF8(strings.TrimSpace(string(head[:min(len(head), maxErrorLen)])), ""); err == nil && said != "" {
		text += ": " + said
	}
	e := &SendError{Text: text, Status: resp.StatusCode}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.After = min(time.Duration(n)*time.Second, 5*time.Minute)
	}
	return e
}
