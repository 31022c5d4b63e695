package profiles

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
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

// bounded notes the last deadline.
type bounded struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (b *bounded) SetWriteDeadline(t time.Time) error {
	b.deadline = t
	return nil
}

// TestDeadline: a profile gets its time in a server that bounds writes, and leaves no bound to the next
// request of the connection in one that does not.
func TestDeadline(t *testing.T) {
	heap := New().Handlers("/")["/heap"]
	for timeout, want := range map[time.Duration]bool{0: false, time.Second: true} {
		w := &bounded{ResponseRecorder: httptest.NewRecorder()}
		ctx := context.WithValue(t.Context(), http.ServerContextKey, &http.Server{WriteTimeout: timeout})
		heap.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/heap", nil).WithContext(ctx))
		if w.Code != http.StatusOK || w.deadline.IsZero() == want {
			t.Errorf("a server with WriteTimeout %s: %d, deadline %v", timeout, w.Code, w.deadline)
		}
	}
}
