package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	t.Setenv("POD_NAME", "web-0")
	h := handler()
	for _, tt := range []struct {
		path string
		code int
		body string
	}{
		{"/", http.StatusOK, "pod web-0, request 1,"},
		{"/", http.StatusOK, "pod web-0, request 2,"},
		{"/healthz", http.StatusOK, "ok"},
		{"/file?p=/config/../etc/passwd", http.StatusForbidden, "not a mounted file"},
		{"/file?p=/config/none", http.StatusNotFound, "no such file"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, tt.path, nil))
		if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("%s: %d %q, want %d %q", tt.path, w.Code, w.Body, tt.code, tt.body)
		}
	}
}
