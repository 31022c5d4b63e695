package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgekit/edgekit/cmd/internal/profiles"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller"
	"github.com/edgekit/edgekit/controller/delegated"
)

// monitor serves health and metrics.
type monitor struct {
	addr     string
	handler  http.Handler
	registry *prometheus.Registry
}

// newRegistry makes the registry of all of cloudcore's metrics.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

func newMonitor(addr string, registry *prometheus.Registry, ctl *controller.Controller, draining *atomic.Bool, users *delegated.Guard) monitor {
	mux := http.NewServeMux()
	for path, h := range profiles.New().Handlers("/debug/pprof/") {
		mux.Handle("GET "+path, users.Protect(h))
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, ErrorHandling: promhttp.ContinueOnError}))
	mux.Handle("GET /sd", atMost(maxScrapes, ctl.Discovery()))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if draining.Load() {
			http.Error(w, "this cloudcore stops: its nodes connect to another one", http.StatusServiceUnavailable)
			return
		}
		select {
		case <-ctl.Ready():
			_, _ = w.Write([]byte("ok\n"))
		default:
			http.Error(w, "caches are being filled from the API server", http.StatusServiceUnavailable)
		}
	})
	return monitor{addr, mux, registry}
}

// maxScrapes is how many requests for the metrics, and for the targets, are answered at a time: each
// takes memory for the whole fleet, and the clients are not authenticated.
const maxScrapes = 4

// atMost answers 503 to more than n requests at a time.
func atMost(n int, h http.Handler) http.Handler {
	places := make(chan struct{}, n)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
			h.ServeHTTP(w, r)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, fmt.Sprintf("%d requests like this are being answered: try again", n), http.StatusServiceUnavailable)
		}
	})
}

func (m monitor) run(ctx context.Context) error {
	if m.addr == "" {
		<-ctx.Done()
		return nil
	}
	l, err := net.Listen("tcp", m.addr)
	if err != nil {
		return &program.UsageError{Setting: "metrics-listen", Reason: err.Error() + ": choose a free address"}
	}
	return serve(ctx, &http.Server{
		Handler: m.handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}, l)
}

// checkMonitor refuses an address that is not loopback, unless the operator allows
// it: clients are not authenticated, and the metrics name nodes.
func checkMonitor(addr string, open bool) error {
	if addr == "" || open {
		return nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return &program.UsageError{Setting: "metrics-listen", Reason: err.Error() + ": want HOST:PORT"}
	}
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && ip.IsLoopback() {
		return nil
	}
	return &program.UsageError{Setting: "metrics-listen", Reason: fmt.Sprintf("%q is not a loopback address, and clients are not authenticated: put a proxy that authenticates them in front, or add --metrics-open", addr)}
}
