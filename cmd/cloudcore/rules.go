package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/controller/rules"
)

// rulesFlags are the settings of rules (rules.kubeedge.io).
type rulesFlags struct {
	Listen       string        `help:"Where callers reach rules whose source is rest (HTTPS), for example :9443. Empty: they are not served; rules whose source is a node work all the same." placeholder:"ADDR"`
	PlainHTTP    bool          `help:"Serve --rules-listen without TLS, as KubeEdge does. Tokens then travel unencrypted." name:"plain-http"`
	Timeout      time.Duration `help:"How long one request through a rule may take, with its answer." default:"60s"`
	TargetCA     string        `help:"Authorities (PEM) of the https:// URLs that rules send to. Default: the system's." name:"target-ca" placeholder:"FILE"`
	LocalTargets bool          `help:"Let rules send to URLs at addresses of cloudcore's own machine (loopback) and link-local addresses."`
	Off          bool          `help:"Have no part in rules: their resources are not even watched."`
}

// rulesParts are what rules need besides their flags.
type rulesParts struct {
	rest    *rest.Config
	hosts   []string // of the entry's certificate
	address netip.Addr
	issue   func(hosts ...string) (func() (*tls.Certificate, error), error)
	bundle  func() []byte // PEM of edgekit's authorities
	log     *slog.Logger
}

// config sets up rules; nil if they are turned off. address is this cloudcore's as Nodes have
// it, invalid without kubelet endpoints.
func (f *rulesFlags) config(p rulesParts) (*rules.Config, error) {
	if f.Off {
		return nil, nil
	}
	if f.Timeout < time.Second || f.Timeout > time.Hour {
		return nil, &program.UsageError{Setting: "rules-timeout", Reason: "must be 1s to 1h"}
	}
	cfg := &rules.Config{Timeout: f.Timeout, LocalTargets: f.LocalTargets, Logger: p.log.With("component", "rules")}
	if f.TargetCA != "" {
		text, err := os.ReadFile(f.TargetCA)
		cfg.TargetCAs = x509.NewCertPool()
		if err == nil && !cfg.TargetCAs.AppendCertsFromPEM(text) {
			err = fmt.Errorf("%s has no certificate (PEM)", f.TargetCA)
		}
		if err != nil {
			return nil, &program.UsageError{Setting: "rules-target-ca", Reason: err.Error()}
		}
	}
	if f.Listen == "" {
		return cfg, nil
	}
	certificate, err := p.issue(p.hosts...)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", f.Listen)
	if err != nil {
		return nil, &program.UsageError{Setting: "rules-listen", Reason: err.Error() + ": choose a free address"}
	}
	if f.PlainHTTP {
		cfg.Logger.Warn("callers of rules are served without TLS: their tokens travel unencrypted (rules-plain-http)", "address", f.Listen)
	}
	cfg.Entry = &rules.EntryConfig{Listener: listener, Certificate: certificate, Plain: f.PlainHTTP}
	if p.address.IsValid() {
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			return nil, err
		}
		cfg.Entry.Peer = &rules.PeerConfig{Address: p.address.String(), Port: number, Transport: &peerTransport{rest: p.rest, bundle: p.bundle}}
	}
	return cfg, nil
}

// peerTransport sends requests to other cloudcores with this one's own credentials. The other
// end must have a certificate of edgekit's authority, which may change.
type peerTransport struct {
	rest   *rest.Config
	bundle func() []byte

	mu   sync.Mutex
	last []byte
	next http.RoundTripper
}

// RoundTrip sends one request.
func (t *peerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	next, err := t.current()
	if err != nil {
		return nil, err
	}
	return next.RoundTrip(req)
}

func (t *peerTransport) current() (http.RoundTripper, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	bundle := t.bundle()
	if t.next != nil && bytes.Equal(bundle, t.last) {
		return t.next, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return nil, fmt.Errorf("edgekit's authorities cannot be read")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	own, err := rest.TLSConfigFor(t.rest)
	if err != nil {
		return nil, fmt.Errorf("cloudcore's credentials: %w", err)
	}
	if own != nil {
		cfg.Certificates, cfg.GetClientCertificate = own.Certificates, own.GetClientCertificate
	}
	// One call for each request: no connection is used twice.
	next, err := rest.HTTPWrappersForConfig(t.rest, &http.Transport{
		TLSClientConfig: cfg, DisableKeepAlives: true, DisableCompression: true, TLSHandshakeTimeout: 10 * time.Second,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	})
	if err != nil {
		return nil, fmt.Errorf("cloudcore's credentials: %w", err)
	}
	t.last, t.next = bundle, next
	return next, nil
}

// newRulesMetrics makes the metrics of rules.
func newRulesMetrics(stats func() rules.Stats) prometheus.Collector {
	m := statsmetrics.New("cloudcore_rules_", stats)
	m.Counter("delivered_total", "Messages and requests of rules that their target took.", func(s rules.Stats) float64 { return float64(s.Delivered) })
	m.Counter("failed_total", "Tries of messages and requests of rules that failed.", func(s rules.Stats) float64 { return float64(s.Failed) })
	m.Counter("dead_letters_total", "Messages that were given up after their rule's ttl.", func(s rules.Stats) float64 { return float64(s.DeadLetters) })
	m.Counter("dropped_messages_total", "Messages of nodes that no rule is for, or that cannot be read.", func(s rules.Stats) float64 { return float64(s.Dropped) })
	m.Gauge("waiting_messages", "Messages that wait in the API server for nodes that are away, at all cloudcores.", func(s rules.Stats) float64 { return float64(s.Waiting) })
	return m
}
