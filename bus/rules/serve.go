package rules

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
)

// Bounds of requests on this node.
const (
	maxRequests = 64 // at once, each way
	dialTimeout = 5 * time.Second
)

// ServeStream serves one request that the cloud sends for a rule.
func (r *Rules) ServeStream(ctx context.Context, req hub.Request, s hub.Stream) error {
	target, err := wire.DecodeTarget(req.Message.Body)
	if err != nil {
		return &hub.Error{Code: hub.CodeInvalid, Text: err.Error()}
	}
	handler := r.service.handler(target)
	if target.Topic != "" {
		handler = r.publishHandler(target.Topic)
	}
	server, err := httplink.NewServer(httplink.ServerConfig{Handler: handler, MaxHeader: 128 << 10, Logger: r.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	return server.ServeStream(ctx, req, s)
}

// publishHandler stores the body of a request, to be published on a topic, and then
// answers.
func (r *Rules) publishHandler(topic string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		payload, err := io.ReadAll(http.MaxBytesReader(w, req.Body, wire.MaxPayload))
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			wire.NewProblem(http.StatusRequestEntityTooLarge, wire.ReasonTooLarge, fmt.Sprintf("a message has at most %d bytes", wire.MaxPayload)).Write(w)
			return
		}
		if err != nil {
			wire.NewProblem(http.StatusBadRequest, wire.ReasonBadRequest, "the body did not arrive whole").Write(w)
			return
		}
		m := wire.Message{Topic: topic, Payload: payload, ContentType: mediaType(req.Header.Get("Content-Type"))}
		if err := r.publish.add(req.Context(), [][]byte{m.Encode()}); err != nil {
			reason := wire.ReasonStore
			if errors.Is(err, errPublishFull) {
				reason = wire.ReasonBusy
			}
			wire.NewProblem(http.StatusServiceUnavailable, reason, "the node cannot store the message now: "+err.Error()).Write(w)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, "message delivered\n") // the caller is gone if this fails
	})
}

// mediaType returns a content type that MQTT can carry.
func mediaType(s string) string {
	if len(s) > 256 || strings.Trim(s, " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~") != "" {
		return ""
	}
	return s
}

// serviceCaller calls services on the node, or on hosts that the node allows.
type serviceCaller struct {
	transport http.RoundTripper
	allowed   map[string]bool
	timeout   time.Duration
	places    chan struct{}
	calls     *atomic.Uint64
	log       *slog.Logger
}

func newServiceCaller(cfg Config, allowed map[string]bool, calls *atomic.Uint64) serviceCaller {
	dialer := &net.Dialer{Timeout: dialTimeout}
	return serviceCaller{
		allowed: allowed, timeout: cfg.Timeout, places: make(chan struct{}, maxRequests), calls: calls, log: cfg.Logger,
		transport: &http.Transport{
			DialContext: dialer.DialContext,
			// A kept connection that the service closes makes net/http send a request again:
			// there must be exactly one call.
			DisableKeepAlives:      true,
			DisableCompression:     true, // the body is passed on as it is
			ResponseHeaderTimeout:  cfg.Timeout,
			MaxResponseHeaderBytes: 128 << 10,
		},
	}
}

// parseHosts checks Config.AllowedHosts.
func parseHosts(list []string) (map[string]bool, error) {
	out := make(map[string]bool, len(list))
	for _, s := range list {
		host, port := s, ""
		if h, p, err := net.SplitHostPort(s); err == nil {
			host, port = h, p
			if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
				return nil, fmt.Errorf("bus/rules: Config.AllowedHosts has %.100q: the port is not a number from 1 to 65535", s)
			}
		}
		if host == "" || strings.ContainsAny(host, "/*@? ") {
			return nil, fmt.Errorf("bus/rules: Config.AllowedHosts has %.100q: give HOST or HOST:PORT, without wildcards", s)
		}
		key := strings.ToLower(host)
		if port != "" {
			key += " " + port
		}
		out[key] = true
	}
	return out, nil
}

// allows reports whether a service may be called.
func (c *serviceCaller) allows(t wire.Target) bool {
	host := strings.ToLower(strings.Trim(t.Host, "[]"))
	if host == "" || host == "localhost" {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil && ip.Unmap().IsLoopback() {
		return true
	}
	return c.allowed[host] || c.allowed[host+" "+strconv.Itoa(t.Port)]
}

// handler calls the service of a target.
func (c *serviceCaller) handler(t wire.Target) http.Handler {
	if !c.allows(t) {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			wire.NewProblem(http.StatusForbidden, wire.ReasonHost, fmt.Sprintf("the node does not allow rules to call %s: add it to rules-allowed-hosts of its edgecore", t.Address())).Write(w)
		})
	}
	t.Host = strings.Trim(t.Host, "[]")
	proxy := &httputil.ReverseProxy{
		Transport: c.transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", t.Address(), t.Address()
			p.Out.URL.RawQuery = p.In.URL.RawQuery // unchanged, also where net/url would mend it
		},
		ModifyResponse: checkAnswer,
		ErrorHandler:   func(w http.ResponseWriter, req *http.Request, err error) { callProblem(req, t.Address(), err).Write(w) },
		ErrorLog:       slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	return limited(c.places, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		c.calls.Add(1)
		req.Body = http.MaxBytesReader(w, req.Body, wire.MaxRequest)
		proxy.ServeHTTP(w, req)
	}))
}

// limited answers 503 while too many requests are under way.
func limited(places chan struct{}, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			next.ServeHTTP(w, req)
		default:
			wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonBusy, "the node serves as many requests for rules as it may").Write(w)
		}
	})
}

// checkAnswer bounds the answer of a service and keeps it from passing for one of ours.
func checkAnswer(resp *http.Response) error {
	resp.Header.Del(wire.ErrorHeader)
	body := resp.Body
	if err := wire.BoundAnswer(resp); err != nil {
		return err
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = body // a connection, which is written too and has no bound
	}
	return nil
}

// callProblem says why a call failed.
func callProblem(req *http.Request, at string, err error) *wire.Problem {
	if p := wire.BoundProblem(req, err, "the service at "+at+" did not answer in time; it may have acted"); p != nil {
		return p
	}
	return wire.NewProblem(http.StatusBadGateway, wire.ReasonRefused, "the service at "+at+" could not be called: "+err.Error())
}
