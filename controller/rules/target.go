package rules

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
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

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
)

// Bounds of calls of URLs.
const (
	tryTimeout  = 30 * time.Second // one try of a message
	maxTries    = 256              // tries at once, of all rules
	perHost     = 16               // connections to one host
	maxErrorLen = 256              // bytes of an answer that go into an error
)

// targets calls the URLs of rules.
type targets struct {
	events *http.Transport // for messages, which are POSTs
	calls  *http.Transport // for requests of programs on nodes
	places chan struct{}
}

func newTargets(cfg Config) *targets {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	if !cfg.LocalTargets {
		dialer.Control = refuseLocal
	}
	make1 := func(keep bool) *http.Transport {
		return &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext,
			TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.TargetCAs},
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: cfg.Timeout, MaxResponseHeaderBytes: 128 << 10,
			MaxConnsPerHost: perHost, MaxIdleConnsPerHost: 2, MaxIdleConns: 100, IdleConnTimeout: 30 * time.Second,
			DisableCompression: true,
			// net/http sends a GET again when a kept connection was closed: there must be
			// exactly one call. It does not do so with a POST that was sent.
			DisableKeepAlives: !keep,
		}
	}
	return &targets{events: make1(true), calls: make1(false), places: make(chan struct{}, maxTries)}
}

func (t *targets) close() {
	t.events.CloseIdleConnections()
	t.calls.CloseIdleConnections()
}

// refuseLocal refuses connections to this machine and its link: a URL in a Rule must not
// reach what is there for cloudcore or its machine alone.
func refuseLocal(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := at.Addr().Unmap()
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return fmt.Errorf("rules may not call %s, an address of cloudcore's machine or link: cloudcore --rules-local-targets allows it", ip)
	}
	return nil
}

// parseTarget reads the URL of a rule.
func parseTarget(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("it is no URL")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return nil, errors.New("it must be an absolute URL, http:// or https://, without user and password")
	}
	return u, nil
}

// message is one message on its way to a URL.
type message struct {
	wire.Message
	node string
	id   string
}

// request makes the request for a message.
func (m *message) request(ctx context.Context, r *resolved) (*http.Request, error) {
	u, err := parseTarget(string(r.rule.Spec.TargetResource[v1.KeyResource]))
	if err != nil {
		return nil, fmt.Errorf("targetResource.resource: %w", err)
	}
	method := http.MethodPost
	if r.rule.Spec.SourceType() == v1.ServiceBus { // a message of MQTT has no say in this
		method = cmp.Or(m.Method, method)
		if path, _, _ := strings.Cut(m.Path, "?"); wire.DotParts(path) {
			return nil, errors.New("the path has a part . or .., which could lead out of the rule's URL")
		}
		u = below(u, m.Path)
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(m.Payload))
	if err != nil {
		return nil, err
	}
	h := req.Header
	h.Set(wire.NodeHeader, m.node)
	h.Set(wire.IDHeader, m.id)
	h.Set(wire.RuleHeader, r.name.Namespace+"/"+r.name.Name)
	if m.Topic != "" {
		h.Set(wire.TopicHeader, headerText(m.Topic))
	}
	if m.ContentType != "" {
		h.Set("Content-Type", headerText(m.ContentType))
	} else {
		h.Set("Content-Type", "application/octet-stream")
	}
	if r.property(v1.PropertyFormat) == "cloudevents" {
		h.Set("Ce-Specversion", "1.0")
		h.Set("Ce-Id", m.id)
		h.Set("Ce-Source", "/nodes/"+m.node)
		h.Set("Ce-Type", "io.edgekit.rules.message")
		if m.Topic != "" {
			h.Set("Ce-Subject", headerText(m.Topic))
		}
		if !m.Time.IsZero() {
			h.Set("Ce-Time", m.Time.UTC().Format(time.RFC3339Nano))
		}
	}
	return req, nil
}

// headerText writes a text as CloudEvents' HTTP binding does (3.1.3.2): what is not
// printable ASCII, and quotes and percent signs, is percent-encoded.
func headerText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// below returns base with a path and query appended.
func below(base *url.URL, pathAndQuery string) *url.URL {
	u := *base
	path, query, _ := strings.Cut(pathAndQuery, "?")
	path = strings.TrimLeft(path, "/")
	if path != "" {
		wire.SetPath(&u, strings.TrimRight(base.EscapedPath(), "/")+"/"+path)
	}
	if query != "" {
		if u.RawQuery != "" {
			u.RawQuery += "&"
		}
		u.RawQuery += query
	}
	return &u
}

// sendError is why a URL did not take a message.
type sendError struct {
	text  string
	after time.Duration // what the target's Retry-After says; 0 says nothing
	final bool          // another try has the same end
}

func (e *sendError) Error() string { return e.text }

// send sends a message once. nil means that the URL has answered with a 2xx status.
func (t *targets) send(ctx context.Context, r *resolved, m *message) error {
	select {
	case t.places <- struct{}{}:
		defer func() { <-t.places }()
	case <-ctx.Done():
		return ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	req, err := m.request(ctx, r)
	if err != nil {
		return &sendError{text: err.Error(), final: true}
	}
	transport := t.events
	if req.Method != http.MethodPost {
		transport = t.calls
	}
	resp, err := transport.RoundTrip(req) // no redirect is followed
	if err != nil {
		return &sendError{text: err.Error()}
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
	e := &sendError{text: text}
	if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 {
		e.after = min(time.Duration(n)*time.Second, 5*time.Minute)
	}
	return e
}
