// Command web is the pod of the demo: a web server that tells which pod
// answers, how often it was asked, and what was mounted into it.
//
//	GET /            pod web-0, request 3, up 12s
//	GET /file?p=P    the content of the file P below /config, /secret or /var/run/secrets
//	GET /healthz     ok
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"path"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "web:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	addr := os.Getenv("LISTEN")
	if addr == "" {
		addr = ":8080"
	}
	server := &http.Server{Addr: addr, Handler: handler(), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- server.ListenAndServe() }()
	fmt.Println("web: listening on", addr)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return err
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func handler() http.Handler {
	var requests atomic.Int64
	started := time.Now()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		pod := os.Getenv("POD_NAME")
		if pod == "" {
			pod, _ = os.Hostname()
		}
		greeting, _ := os.ReadFile("/config/greeting")
		fmt.Fprintf(w, "pod %s, request %d, up %s\n%s", pod, requests.Add(1), time.Since(started).Round(time.Second), greeting)
	})
	mux.HandleFunc("GET /file", func(w http.ResponseWriter, r *http.Request) {
		p := path.Clean("/" + r.URL.Query().Get("p"))
		if !strings.HasPrefix(p, "/config/") && !strings.HasPrefix(p, "/secret/") && !strings.HasPrefix(p, "/var/run/secrets/") {
			http.Error(w, "not a mounted file", http.StatusForbidden)
			return
		}
		b, err := os.ReadFile(p)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(b) // the client went away
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}
