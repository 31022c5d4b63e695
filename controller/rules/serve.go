package rules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/meta/resources"
)

// serve answers a request that its caller may make: one call, by this cloudcore or another.
func (e *entry) serve(w http.ResponseWriter, req *http.Request, path request, r *resolved) {
	if r.rule.Spec.TargetType() == v1.EventBus {
		e.publish(w, req, path, r)
		return
	}
	if req.ContentLength > wire.MaxRequest {
		tooLarge(wire.MaxRequest).Write(w)
		return
	}
	spec := &r.rule.Spec
	port, err := strconv.Atoi(r.property(v1.PropertyPort))
	if err != nil { // judge has seen that there is one; the schema, that it is a number
		wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonUnresolved, "service_port of the rule's target is no number").Write(w)
		return
	}
	target := wire.Target{Host: r.property(v1.PropertyHost), Port: port}
	s, err := e.c.openStream(req.Context(), path.node, r, target)
	if errors.Is(err, hub.ErrOffline) {
		if !e.passOn(w, req, path.node) {
			e.away(path.node).Write(w)
		}
		return
	}
	if err != nil {
		e.failed(w, req, path.node, r, err)
		return
	}
	defer s.Close()
	parts := rest(r.pattern, path.raw)
	u := &url.URL{Scheme: "http", Host: "node", RawQuery: req.URL.RawQuery}
	wire.SetPath(u, "/"+strings.Join(append(slices.Clone(nonEmpty(strings.Split(string(spec.TargetResource[v1.KeyPath]), "/"))), parts...), "/"))
	if strings.HasSuffix(req.URL.EscapedPath(), "/") && len(parts) > 0 {
		wire.SetPath(u, u.EscapedPath()+"/")
	}
	req.Body = http.MaxBytesReader(w, req.Body, wire.MaxRequest)
	e.carry(w, req, path.node, r, s, u)
}

// nonEmpty returns the parts that are not empty.
func nonEmpty(parts []string) []string {
	return slices.DeleteFunc(parts, func(s string) bool { return s == "" })
}

// openStream opens a stream to a node.
func (c *Controller) openStream(ctx context.Context, node string, r *resolved, target wire.Target) (hub.Stream, error) {
	c.runMu.Lock()
	open := c.open
	c.runMu.Unlock()
	if open == nil {
		return nil, hub.ErrOffline
	}
	return open(ctx, node, hub.Message{
		Key: hub.Key{Resource: resources.RuleProxy, Namespace: r.name.Namespace, Name: r.name.Name}, Body: target.Encode(),
	})
}

// carry carries a request on a stream, once.
func (e *entry) carry(w http.ResponseWriter, req *http.Request, node string, r *resolved, s hub.Stream, u *url.URL) {
	transport := httplink.NewTransport(func(context.Context, string) (hub.Stream, error) { return s, nil })
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL, p.Out.Host = u, "node"
			p.Out.Header.Del("Authorization") // meant for cloudcore
			p.Out.Header.Del("Prefer")
			p.Out.Header.Del("Upgrade") // one request, one answer
			p.Out.Header.Del("Connection")
			p.Out.Header.Del(wire.ErrorHeader)
			p.Out.Header.Del(forwardedHeader)
		},
		ModifyResponse: func(resp *http.Response) error {
			if err := wire.BoundAnswer(resp); err != nil {
				return err
			}
			e.c.count(r.name, node, resp)
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, req *http.Request, err error) { e.failed(w, req, node, r, err) },
		ErrorLog:     slog.NewLogLogger(e.c.log.Handler(), slog.LevelDebug),
	}
	proxy.ServeHTTP(w, req)
}

// failed answers a request whose call failed, and counts it.
func (e *entry) failed(w http.ResponseWriter, req *http.Request, node string, r *resolved, err error) {
	p := callProblem(req, "node "+node, err)
	e.c.statuses.failure(r.name, node, p.Detail)
	p.Write(w)
}

func tooLarge(limit int) *wire.Problem {
	return wire.NewProblem(http.StatusRequestEntityTooLarge, wire.ReasonTooLarge, fmt.Sprintf("a request for this rule has at most %d bytes", limit))
}

// away is the answer while a node has no link.
func (e *entry) away(node string) *wire.Problem {
	return wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonNodeAway, fmt.Sprintf("node %s has no link to this cloudcore", node))
}

// publish has a node publish the request's body.
func (e *entry) publish(w http.ResponseWriter, req *http.Request, path request, r *resolved) {
	topic, p := publishTopic(r, path, req.URL.RawQuery)
	if p != nil {
		p.Write(w)
		return
	}
	if req.ContentLength > wire.MaxPayload {
		tooLarge(wire.MaxPayload).Write(w)
		return
	}
	payload, err := io.ReadAll(http.MaxBytesReader(w, req.Body, wire.MaxPayload))
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		tooLarge(wire.MaxPayload).Write(w)
		return
	}
	if err != nil {
		wire.NewProblem(http.StatusBadRequest, wire.ReasonBadRequest, "the body did not arrive whole").Write(w)
		return
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(payload)), int64(len(payload))
	s, err := e.c.openStream(req.Context(), path.node, r, wire.Target{Topic: topic})
	switch {
	case errors.Is(err, hub.ErrOffline):
		if !e.passOn(w, req, path.node) {
			e.wait(w, req, path.node, r, topic, payload)
		}
		return
	case err != nil:
		e.failed(w, req, path.node, r, err)
		return
	}
	defer s.Close()
	out := req.Clone(req.Context())
	out.Method, out.Header = http.MethodPost, make(http.Header)
	if t := req.Header.Get("Content-Type"); t != "" {
		out.Header.Set("Content-Type", t)
	}
	e.carry(w, out, path.node, r, s, &url.URL{Scheme: "http", Host: "node", Path: "/"})
}

// publishTopic is the topic of a request.
func publishTopic(r *resolved, path request, query string) (string, *wire.Problem) {
	target := r.rule.Spec.TargetResource
	topic := string(target[v1.KeyTopic])
	for _, part := range rest(r.pattern, path.parts) {
		if strings.ContainsAny(part, "/+#") {
			return "", wire.NewProblem(http.StatusBadRequest, wire.ReasonBadRequest, "the path has /, + or # inside a part, which a topic cannot have")
		}
		topic += "/" + part
	}
	if target[v1.KeyQuery] == "topic" && query != "" {
		topic += "?" + query
	}
	if err := wire.PublishTopic(topic); err != nil {
		return "", wire.NewProblem(http.StatusBadRequest, wire.ReasonBadRequest, err.Error())
	}
	return topic, nil
}

// wait keeps a message for a node that is away if the caller allows that, and answers.
func (e *entry) wait(w http.ResponseWriter, req *http.Request, node string, r *resolved, topic string, payload []byte) {
	async, ttl := preference(req.Header, r.ttl())
	if !async {
		p := e.away(node)
		p.Detail += "; Prefer: respond-async has the message wait for it"
		p.Write(w)
		return
	}
	if len(payload) > maxWaitingBody || len(topic) > 4096 {
		tooLarge(maxWaitingBody).Write(w)
		return
	}
	contentType := req.Header.Get("Content-Type")
	if len(contentType) > 256 {
		contentType = ""
	}
	err := e.c.wait(req.Context(), r, node, topic, contentType, payload, ttl)
	switch {
	case errors.Is(err, errWaitingFull):
		wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonBusy, err.Error()).Write(w)
	case err != nil:
		e.c.log.Warn("a message for a node that is away cannot be stored", "node", node, "rule", r.name.Name, "err", err)
		wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonStore, "the message cannot be stored now").Write(w)
	default:
		w.Header().Set("Preference-Applied", "respond-async")
		wire.NewProblem(http.StatusAccepted, wire.ReasonDeferred, fmt.Sprintf("node %s is away: the message waits for it for %s", node, ttl)).Write(w)
	}
}

// preference reads Prefer (RFC 7240): whether the answer may come before the message is
// delivered, and for how long the message may wait.
func preference(h http.Header, ttl time.Duration) (async bool, wait time.Duration) {
	wait = ttl
	for _, line := range h.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(part, "=")
			switch name, value = strings.ToLower(strings.TrimSpace(name)), strings.Trim(value, ` "`); name {
			case "respond-async":
				async = true
			case "wait":
				if n, err := strconv.ParseUint(value, 10, 31); err == nil {
					wait = time.Duration(n) * time.Second
				}
			}
		}
	}
	return async, wait
}
