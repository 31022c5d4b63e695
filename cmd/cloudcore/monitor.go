package main

import (
	"context"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/controller"
)

// monitor serves health and metrics.
type monitor struct {
	addr    string
	handler http.Handler
}

// newRegistry holds all of cloudcore's figures.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

func newMonitor(addr string, registry *prometheus.Registry, ctl *controller.Controller) monitor {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-ctl.Ready():
			_, _ = w.Write([]byte("ok\n"))
		default:
			http.Error(w, "caches are being filled from the API server", http.StatusServiceUnavailable)
		}
	})
	return monitor{addr, mux}
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
	return serve(ctx, &http.Server{Handler: m.handler}, l)
}
