package rules

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

// request is KubeEdge's envelope of a request.
type request struct {
	Method    string          `json:"method"`
	TargetURL string          `json:"targetURL"`
	Payload   json.RawMessage `json:"payload"`
}

// answer is its answer; the HTTP status is always 200.
type answer struct {
	Code int    `json:"code"` // the real status
	Msg  string `json:"msg"`
	Body string `json:"body"`
}

// decodeRequest reads an envelope.
func decodeRequest(b []byte) (request, error) {
	var r request
	if err := json.Unmarshal(b, &r); err != nil {
		return request{}, fmt.Errorf(`the body is no JSON like {"method":"POST","targetURL":"http://…","payload":{…}}: %w`, err)
	}
	if r.TargetURL == "" {
		return request{}, errors.New("targetURL is missing")
	}
	if r.Method == "" {
		r.Method = http.MethodPost
	}
	if strings.Trim(r.Method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" || len(r.Method) > 16 {
		return request{}, fmt.Errorf("method %.20q is none of HTTP", r.Method)
	}
	return r, nil
}

// body is what the target gets: the text of a string, any other JSON as it is.
func (r request) body() (body []byte, contentType string) {
	var text string
	switch {
	case len(r.Payload) == 0 || string(r.Payload) == "null":
		return nil, ""
	case r.Payload[0] == '"' && json.Unmarshal(r.Payload, &text) == nil:
		return []byte(text), "text/plain; charset=utf-8"
	}
	return r.Payload, "application/json"
}

// envelope serves a request in KubeEdge's form.
func (l *localServer) envelope(w http.ResponseWriter, req *http.Request) {
	reply := func(code int, msg string, body []byte) {
		text, err := json.Marshal(answer{Code: code, Msg: msg, Body: string(body)})
		if err != nil { // texts always have JSON
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text) // the program is gone if this fails
	}
	raw, err := io.ReadAll(req.Body)
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		reply(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes", maxLocalBody), nil)
		return
	}
	if err != nil {
		reply(http.StatusBadRequest, "the body did not arrive whole", nil)
		return
	}
	envelope, err := decodeRequest(raw)
	if err != nil {
		reply(http.StatusBadRequest, err.Error(), nil)
		return
	}
	key, ok := l.byURL(envelope.TargetURL)
	if !ok {
		reply(http.StatusBadRequest, fmt.Sprintf("no rule of this node has the target_url %.500q", envelope.TargetURL), nil)
		return
	}
	payload, contentType := envelope.body()
	out, err := http.NewRequestWithContext(context.WithValue(req.Context(), ruleKey{}, key), envelope.Method, "http://cloud/", bytes.NewReader(payload))
	if err != nil {
		reply(http.StatusBadRequest, err.Error(), nil)
		return
	}
	if contentType != "" {
		out.Header.Set("Content-Type", contentType)
	}
	resp, err := l.transport.RoundTrip(out)
	if err != nil {
		p := cloudProblem(out, err)
		reply(p.Status, p.Detail, nil)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxLocalBody+1))
	switch {
	case err != nil:
		reply(http.StatusBadGateway, "the answer did not arrive whole; the call was made", nil)
	case len(body) > maxLocalBody:
		reply(http.StatusBadGateway, fmt.Sprintf("the answer has more than %d bytes; the call was made", maxLocalBody), nil)
	default:
		reply(resp.StatusCode, http.StatusText(resp.StatusCode), body)
	}
}

// byURL finds the rule with a target_url; of several, the first by name.
func (l *localServer) byURL(target string) (found meta.Key, ok bool) {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	for key, v := range l.r.rules {
		if v.targetURL == target && (!ok || key.String() < found.String()) {
			found, ok = key, true
		}
	}
	return found, ok
}

// wantsDeferral reports whether a request may be answered before it is done (RFC 7240).
func wantsDeferral(h http.Header) bool {
	for _, line := range h.Values("Prefer") {
		for part := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(part), "respond-async") {
				return true
			}
		}
	}
	return false
}

// offline reports whether no stream to the cloud can be opened now.
func (l *localServer) offline(ctx context.Context) bool {
	if l.r.cfg.Open == nil {
		return true
	}
	// A stream for no rule: the cloud refuses it at once.
	s, err := l.r.cfg.Open(ctx, hub.Message{Key: hub.Key{Resource: resources.RuleProxy, Name: "-"}, Body: wire.Target{}.Encode()})
	if err == nil {
		s.Close()
	}
	return errors.Is(err, hub.ErrOffline)
}

// keep stores a request for the cloud and answers 202.
func (l *localServer) keep(w http.ResponseWriter, req *http.Request, key meta.Key, rest string) {
	if wire.DotParts(rest) {
		wire.NewProblem(http.StatusBadRequest, wire.ReasonBadRequest, "the path has a part . or .., which could lead out of the rule's URL").Write(w)
		return
	}
	payload, err := io.ReadAll(http.MaxBytesReader(w, req.Body, wire.MaxPayload))
	if err != nil {
		wire.NewProblem(http.StatusRequestEntityTooLarge, wire.ReasonTooLarge, fmt.Sprintf("a request that is kept has at most %d bytes", wire.MaxPayload)).Write(w)
		return
	}
	u := url.URL{RawQuery: req.URL.RawQuery}
	wire.SetPath(&u, "/"+rest)
	m := wire.Message{Payload: payload, ContentType: mediaType(req.Header.Get("Content-Type")), Time: time.Now(), Method: req.Method, Path: u.RequestURI()}
	up := meta.Key{Resource: resources.RuleEvents, Namespace: key.Namespace, Name: key.Name}
	if err := l.r.queues.Append(req.Context(), key.Namespace+"/"+key.Name, up, m.Encode()); err != nil {
		wire.NewProblem(http.StatusServiceUnavailable, wire.ReasonStore, "the node cannot store the request now").Write(w)
		return
	}
	l.r.counts.queued.Add(1)
	w.Header().Set("Preference-Applied", "respond-async")
	wire.NewProblem(http.StatusAccepted, wire.ReasonDeferred, "the request is kept until the node has a link to the cloud").Write(w)
}
