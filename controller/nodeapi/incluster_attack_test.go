package nodeapi

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/meta/apiserver"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
)

// TestAttackIdentity: who has no token of a pod on this node reaches nothing, and says why; who has
// one acts by it alone, never by the node's or cloudcore's credentials.
func TestAttackIdentity(t *testing.T) {
	s := newInCluster(t, nil, nil)
	s.putLocal("pods", "shop", "far", map[string]any{"metadata": map[string]any{"namespace": "shop", "name": "far", "uid": "u-far", "resourceVersion": "5"},
		"spec": map[string]any{"serviceAccountName": "clerk"}}) // the node says that it is here
	for name, tt := range map[string]struct{ token, want string }{
		"no token":               {"", "no credentials"},
		"rubbish":                {"x.y.z", ""},
		"another node's pod":     {s.token("far", "u-far", nil), "another node"},
		"a pod that is not here": {s.token("other", "u-9", nil), "not on this node"},
		"an ended token":         {s.token("web", "u-1", func(c map[string]any) { c["exp"] = time.Now().Add(-time.Hour * 24 * 60).Unix() }), "expired"},
		"bound to no pod":        {s.token("", "", nil), "not bound to a pod"},
		"another audience":       {s.token("web", "u-1", func(c map[string]any) { c["aud"] = []string{"vault"} }), "audience"},
	} {
		resp, text := s.ask("GET", tt.token, "/api/v1/configmaps", "")
		if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(text, tt.want) || !strings.Contains(text, `"reason":"Unauthorized"`) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, text)
		}
	}
	if asked := s.up.asked(""); len(asked) > 0 {
		t.Errorf("the API server was asked: %v", asked)
	}
	// Headers: the API server judges impersonation by the pod's token; a removed or second
	// Authorization, and a proxy's word about the user, have no effect.
	for _, header := range [][]string{
		{"Impersonate-User", "admin"}, {"Connection", "Authorization"}, {"Connection", "Authorization, Impersonate-User", "Impersonate-User", "x"},
		{"Authorization", "Bearer " + s.token("far", "u-far", nil)}, {"X-Remote-User", "admin", "X-Remote-Group", "system:masters"},
		{"Sec-Websocket-Protocol", "base64url.bearer.authorization.k8s.io.YQ"},
	} {
		s.ask("GET", s.web(), "/api/v1/configmaps", "", header...)
	}
	s.up.mu.Lock()
	defer s.up.mu.Unlock()
	for i, h := range s.up.headers {
		if len(h.Values("Authorization")) != 1 || h.Get("Authorization") == "" || h.Get("X-Remote-User") != "" || strings.Contains(h.Get("Authorization"), "cloudcores-own") || h.Get("Sec-Websocket-Protocol") != "" {
			t.Errorf("%s: %v", s.up.requests[i], h)
		}
		if !strings.HasPrefix(s.up.requests[i], "system:serviceaccount:shop:clerk ") {
			t.Errorf("asked as %s", s.up.requests[i])
		}
	}
	if len(s.up.requests) != 5 || !strings.Contains(s.up.requests[0], " as admin ") {
		t.Errorf("%v", s.up.requests)
	}
}

// TestAttackPaths: paths lead to the API server and nowhere else.
func TestAttackPaths(t *testing.T) {
	s := newInCluster(t, nil, nil)
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.http.URL, "http://"))
	must(t, err)
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for _, target := range []string{
		"/api/v1/../../secret", "/api/v1/%2e%2e/%2E%2e/secret", "//evil.example/api/v1/pods", "/api/v1/namespaces/shop/pods/..%2f..%2fx",
		"/api/v1/nodes/x/proxy/../../../y", "/./api", "http://evil.example/api/../v1", "/api//v1/pods",
	} {
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer %s\r\n\r\n", target, s.web())
		resp, err := http.ReadResponse(answers, nil)
		must(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", target, resp.StatusCode)
		}
	}
	if asked := s.up.asked(""); len(asked) > 0 {
		t.Errorf("the API server was asked: %v", asked)
	}
	fmt.Fprintf(conn, "GET http://evil.example/version HTTP/1.1\r\nHost: evil.example\r\nAuthorization: Bearer %s\r\n\r\n", s.web())
	resp, err := http.ReadResponse(answers, nil)
	must(t, err)
	resp.Body.Close()
	if asked := s.up.asked("/version"); resp.StatusCode != http.StatusOK || len(asked) != 1 {
		t.Errorf("another host in the request line: %d %v", resp.StatusCode, asked)
	}
}

// TestAttackNode: a node that sends what its API would not: cloudcore refuses it by itself.
func TestAttackNode(t *testing.T) {
	s := newInCluster(t, nil, nil)
	transport := httplink.NewTransport(func(ctx context.Context, _ string) (hub.Stream, error) {
		return s.OpenStream(ctx, hub.Message{Key: hub.Key{Resource: wire.Stream, Name: "request"}})
	})
	ask := func(path string, header ...string) (int, string) {
		t.Helper()
		req := httptest.NewRequest(http.MethodGet, "http://api"+path, nil).WithContext(t.Context())
		req.RequestURI = ""
		for i := 0; i < len(header); i += 2 {
			req.Header.Add(header[i], header[i+1])
		}
		resp, err := transport.RoundTrip(req)
		must(t, err)
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(text)
	}
	web := "Bearer " + s.web()
	for name, tt := range map[string]struct {
		path   string
		header []string
		code   int
	}{
		"no token":                  {"/api/v1/pods", nil, 401},
		"basic":                     {"/api/v1/pods", []string{"Authorization", "Basic YTpi"}, 401},
		"an opaque token":           {"/api/v1/pods", []string{"Authorization", "Bearer secret"}, 401},
		"another node's pod":        {"/api/v1/pods", []string{"Authorization", "Bearer " + s.token("far", "u-far", nil)}, 401},
		"a pod that is gone":        {"/api/v1/pods", []string{"Authorization", "Bearer " + s.token("no", "u-no", nil)}, 401},
		"a token in the websocket":  {"/api/v1/pods", []string{"Authorization", web, "Sec-Websocket-Protocol", "a, base64url.bearer.authorization.k8s.io.YQ"}, 401},
		"a path upwards":            {"/api/v1/%2e%2e/x", []string{"Authorization", web}, 400},
		"a good one":                {"/version", []string{"Authorization", web}, 200},
		"with cloudcore's own word": {"/version", []string{"Authorization", web, "X-Remote-User", "admin"}, 200},
	} {
		if code, text := ask(tt.path, tt.header...); code != tt.code {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	for _, r := range s.up.asked("") {
		if !strings.HasPrefix(r, "system:serviceaccount:shop:clerk GET /version") {
			t.Errorf("the API server was asked: %s", r)
		}
	}
}

// TestAttackWatches: a client that watches everything gets 429 with Retry-After, on the node and in
// the cloud, and others go on.
func TestAttackWatches(t *testing.T) {
	for where, s := range map[string]*inCluster{
		"the node":  newInCluster(t, func(c *apiserver.Config) { c.MaxWatches = 3 }, nil),
		"all":       newInCluster(t, func(c *apiserver.Config) { c.MaxStreams = 4 }, nil),
		"cloudcore": newInCluster(t, nil, func(c *Config) { c.MaxStreamsPerNode = 3 }),
	} {
		var open []following
		for range 3 {
			f, err := s.follow("/api/v1/configmaps?watch=1")
			must(t, err)
			if f.code != http.StatusOK {
				t.Fatalf("%s: %d", where, f.code)
			}
			open = append(open, f)
		}
		resp, text := s.ask("GET", s.web(), "/api/v1/pods?watch=1", "")
		if resp.StatusCode != http.StatusTooManyRequests || resp.Header.Get("Retry-After") != "1" || !strings.Contains(text, "too many requests") {
			t.Errorf("%s: %d %s", where, resp.StatusCode, text)
		}
		if resp, _ := s.ask("GET", s.web(), "/api/v1/pods", ""); where != "cloudcore" && resp.StatusCode != http.StatusOK {
			t.Errorf("%s: a list beside the watches: %d", where, resp.StatusCode)
		}
		for _, f := range open {
			f.Close()
		}
		s.until(where+": the watches end", func() bool {
			resp, _ := s.ask("GET", s.web(), "/api/v1/pods", "")
			return resp.StatusCode == http.StatusOK && s.api.Stats().Streams == 0
		})
	}
}
