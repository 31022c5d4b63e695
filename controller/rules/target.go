package rules

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	v1 "github.com/edgekit/edgekit/bus/rules/v1"
	"github.com/edgekit/edgekit/bus/rules/wire"
	"github.com/edgekit/edgekit/controller/internal/delivery"
)

// message is one message on its way to a URL.
type message struct {
	wire.Message
	node string
	id   string
}

// request makes the request for a message.
func (m *message) request(ctx context.Context, r *resolved) (*http.Request, error) {
	u, err := delivery.ParseTarget(string(r.rule.Spec.TargetResource[v1.KeyResource]))
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
