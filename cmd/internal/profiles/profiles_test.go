package profiles

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestProfiles(t *testing.T) {
	p := New()
	mux := http.NewServeMux()
	for path, h := range p.Handlers("/debug/pprof/") {
		mux.Handle("GET "+path, h)
	}
	get := func(ctx context.Context, path string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil).WithContext(ctx))
		return w
	}
	for _, name := range []string{"heap", "allocs", "goroutine", "threadcreate", "block", "mutex"} {
		if w := get(t.Context(), "/debug/pprof/"+name); w.Code != http.StatusOK || w.Body.Len() < 20 || w.Body.Bytes()[0] != 0x1f {
			t.Errorf("%s: %d, %d bytes", name, w.Code, w.Body.Len())
		}
	}
	if w := get(t.Context(), "/debug/pprof/goroutine?debug=1"); w.Header().Get("Content-Type") != "text/plain; charset=utf-8" {
		t.Errorf("text: %v", w.Header())
	}
	for _, bad := range []string{"0", "31", "-1", "x", "1e9"} {
		if w := get(t.Context(), "/debug/pprof/profile?seconds="+bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s seconds: %d", bad, w.Code)
		}
	}
	if w := get(t.Context(), "/debug/pprof/cmdline"); w.Code != http.StatusNotFound {
		t.Errorf("the command line: %d", w.Code)
	}
	// A client that goes away ends its profile; meanwhile nobody else gets one.
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan *httptest.ResponseRecorder)
	go func() { done <- get(ctx, "/debug/pprof/profile?seconds=30") }()
	for len(p.running) == 0 {
		select {
		case w := <-done:
			t.Fatalf("ended with %d", w.Code)
		default:
		}
	}
	if w := get(t.Context(), "/debug/pprof/heap"); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
		t.Errorf("a second profile: %d", w.Code)
	}
	cancel()
	<-done
	if w := get(t.Context(), "/debug/pprof/heap"); w.Code != http.StatusOK {
		t.Errorf("afterwards: %d", w.Code)
	}
}
