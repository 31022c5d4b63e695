package apiserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/meta/memstore"
)

// TestExtensions has a path of another API: with the same credentials, and its handler learns
// who asks.
func TestExtensions(t *testing.T) {
	g := newGuarded(t)
	api, err := New(Config{Store: g.store, Node: "gate-7", Connected: func() (bool, time.Time) { return false, time.Time{} }, Extensions: map[string]http.Handler{
		"/twin/v1/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			who, ok := IdentityOf(r.Context())
			fmt.Fprintln(w, ok, who.Namespace(), who.Admin(), r.URL.Path)
		}),
		"/api/v1/pods/act": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.Method) }),
	}})
	must(t, err)
	g.http = g.serveHTTP(api.Handler())
	if code, body := g.as(g.token(t, nil), "/api/v1/pods/act"); code != http.StatusOK || body != "GET\n" {
		t.Errorf("one path: %d %s", code, body)
	}
	if code, _ := g.as(g.token(t, nil), "/api/v1/pods/act/x"); code == http.StatusOK {
		t.Error("a path below it is served too")
	}
	if code, body := g.as(g.token(t, nil), "/twin/v1/devices"); code != http.StatusOK || body != "true shop false /twin/v1/devices\n" {
		t.Errorf("%d %s", code, body)
	}
	if code, body := g.as("", "/twin/v1/devices"); code != http.StatusUnauthorized {
		t.Errorf("without a token: %d %s", code, body)
	}
	if code, body := g.as(g.token(t, nil), "/version"); code != http.StatusOK {
		t.Errorf("Kubernetes' own path: %d %s", code, body)
	}
	g.http = g.serveHTTP(api.AdminHandler())
	if code, body := g.as("", "/twin/v1/x"); code != http.StatusOK || body != "true  true /twin/v1/x\n" {
		t.Errorf("the administrator: %d %s", code, body)
	}
	if _, ok := IdentityOf(t.Context()); ok {
		t.Error("an identity of nobody")
	}
	for _, prefix := range []string{"POST /twin/v1/x", " /api/v1/x", "POST /api/v1/", "twin/", "/twin", "/", "/api/v1/", "/apis/x/"} {
		_, err := New(Config{Store: memstore.New(), Node: "n", Extensions: map[string]http.Handler{prefix: nil}})
		if err == nil || !strings.Contains(err.Error(), "Extensions") {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

// TestExtensionPatterns: a pattern takes one method and whole segments, and is for the node's
// administrator alone.
func TestExtensionPatterns(t *testing.T) {
	g := newGuarded(t)
	api, err := New(Config{Store: g.store, Node: "gate-7", Connected: func() (bool, time.Time) { return false, time.Time{} }, Extensions: map[string]http.Handler{
		"POST /api/v1/namespaces/*/pods/restart": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "extension") }),
	}})
	must(t, err)
	for _, tt := range []struct {
		method, path string
		want         bool
	}{
		{"POST", "/api/v1/namespaces/shop/pods/restart", true},
		{"GET", "/api/v1/namespaces/shop/pods/restart", false}, // a pod may have this name
		{"POST", "/api/v1/namespaces//pods/restart", false},
		{"POST", "/api/v1/namespaces/shop/x/pods/restart", false},
		{"POST", "/api/v1/namespaces/shop/pods/restart/x", false},
	} {
		w := httptest.NewRecorder()
		api.AdminHandler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, nil))
		if got := w.Body.String() == "extension"; got != tt.want {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
	r := httptest.NewRequestWithContext(t.Context(), "POST", "/api/v1/namespaces/shop/pods/restart", nil)
	r.Header.Set("Authorization", "Bearer "+g.token(t, nil))
	w := httptest.NewRecorder()
	api.Handler().ServeHTTP(w, r)
	if w.Body.String() == "extension" {
		t.Error("a pod restarts pods")
	}
}
