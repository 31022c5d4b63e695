package server_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/edgekit/edgekit/edged/server"
)

// TestHandlers: a program adds paths for reports of faults, and none that hides one of the kubelet's.
func TestHandlers(t *testing.T) {
	said := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "said") })
	n := newNode(t)
	with := func(path string) (*server.Server, error) {
		return server.New(server.Config{Node: "n", Pods: n, Runtime: n, Handlers: map[string]http.Handler{path: said}})
	}
	for _, path := range []string{"/pods", "/metrics", "/debug", "debug/x", "/debug/{x}", "/logs/a b"} {
		if _, err := with(path); err == nil {
			t.Errorf("%q is accepted", path)
		}
	}
	s, err := with("/debug/status")
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]int{http.MethodGet: http.StatusOK, http.MethodPost: http.StatusMethodNotAllowed} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest(method, "/debug/status", nil))
		if w.Code != want {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}
