package rules

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"strings"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/delivery"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
)

// ServeStream serves one request of a program on a node, for a rule whose source is
// servicebus: one call of the rule's URL.
func (c *Controller) ServeStream(ctx context.Context, req hub.Request, s hub.Stream) error {
	name := cache.Name{Namespace: req.Message.Key.Namespace, Name: req.Message.Key.Name}
	var handler http.Handler
	switch r := c.rule(name); {
	case r == nil || r.node() != req.Node || r.rule.Spec.SourceType() != v1.ServiceBus:
		handler = problem(http.StatusNotFound, wire.ReasonNoRule, fmt.Sprintf("node %s has no rule %s/%s with a source servicebus", req.Node, name.Namespace, name.Name))
	case !r.ok():
		handler = problem(http.StatusServiceUnavailable, wire.ReasonUnresolved, "the rule is not resolved: "+r.message)
	default:
		handler = c.call(r, req.Node)
	}
	server, err := httplink.NewServer(httplink.ServerConfig{Handler: handler, MaxHeader: 128 << 10, Logger: c.log})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	return server.ServeStream(ctx, req, s)
}

func problem(status int, reason, detail string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { wire.NewProblem(status, reason, detail).Write(w) })
}

// call carries a request to the rule's URL.
func (c *Controller) call(r *resolved, node string) http.Handler {
	proxy := &httputil.ReverseProxy{
		Transport: c.targets.Calls(),
		Rewrite: func(p *httputil.ProxyRequest) {
			u, err := delivery.ParseTarget(string(r.rule.Spec.TargetResource[v1.KeyResource]))
			if err != nil { // judge has parsed it
				return
			}
			p.Out.URL = below(u, p.In.URL.RequestURI())
			p.Out.Host = u.Host
			p.Out.Header.Set(wire.NodeHeader, node)
			p.Out.Header.Set(wire.RuleHeader, r.name.Namespace+"/"+r.name.Name)
			p.Out.Header.Del("Upgrade") // one request, one answer
			p.Out.Header.Del("Connection")
		},
		ModifyResponse: func(resp *http.Response) error {
			resp.Header.Del(wire.ErrorHeader) // which only an end of the link sets
			if err := wire.BoundAnswer(resp); err != nil {
				return err
			}
			c.count(r.name, node, resp)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) {
			p := callProblem(req, string(r.rule.Spec.TargetResource[v1.KeyResource]), err)
			c.statuses.failure(r.name, node, p.Detail)
			p.Write(w)
		},
		ErrorLog: slog.NewLogLogger(c.log.Handler(), slog.LevelDebug),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if wire.DotParts(req.URL.EscapedPath()) {
			wire.NewProblem(http.StatusBadRequest, wire.ReasonBadRequest, "the path has a part . or .., which could lead out of the rule's URL").Write(w)
			return
		}
		req.Body = http.MaxBytesReader(w, req.Body, wire.MaxRequest)
		proxy.ServeHTTP(w, req)
	})
}

// count counts an answer: one with a status below 400 is a success.
func (c *Controller) count(name cache.Name, node string, resp *http.Response) {
	if resp.StatusCode < http.StatusBadRequest {
		c.statuses.success(name, node)
		return
	}
	text := "the target answered " + resp.Status
	if reason := resp.Header.Get(wire.ErrorHeader); reason != "" {
		text = "the node answered " + resp.Status + " (" + clip(reason) + ")"
	}
	c.statuses.failure(name, node, text)
}

// callProblem says why a call failed.
func callProblem(req *http.Request, at string, err error) *wire.Problem {
	if p := wire.BoundProblem(req, err, at+" did not answer in time; the call may have been made"); p != nil {
		return p
	}
	peer, refused := errors.AsType[*hub.Error](err)
	switch {
	case refused && peer.Code == hub.CodeUnsupported:
		return wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonNodeAway, "the node's edgecore does not serve rules: it is older, or has --no-rules")
	case refused && peer.Code == hub.CodeExhausted:
		return wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonBusy, "the node takes no more requests now")
	case errors.Is(err, hub.ErrInterrupted):
		return wire.NewProblem(http.StatusBadGateway, wire.ReasonRefused, "the link was lost meanwhile; the call may have been made")
	}
	return wire.NewProblem(http.StatusBadGateway, wire.ReasonRefused, at+" could not be called: "+err.Error())
}

// maxClip is how many bytes of a text go into a status.
const maxClip = 512

// clip shortens a text for a status, and makes it UTF-8.
func clip(s string) string {
	if len(s) > maxClip {
		s = s[:maxClip] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}
