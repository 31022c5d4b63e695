package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join/joinmetrics"
	"github.com/edgekit/edgekit/hub/metrics"
	storemetrics "github.com/edgekit/edgekit/meta/metrics"
)

// monitor serves the agent's metrics and those of more on addr until ctx ends. Without an addr it only waits.
func monitor(addr string, link *link, n *node, more ...prometheus.Collector) func(context.Context) error {
	return func(ctx context.Context) error {
		if addr == "" {
			<-ctx.Done()
			return nil
		}
		links, err := metrics.New(metrics.Config{Stats: func() hub.Stats { return link.client.Load().Stats() }})
		if err != nil {
			return err
		}
		certificate, err := joinmetrics.NewNode(n.identity)
		if err != nil {
			return err
		}
		registry := prometheus.NewRegistry()
		registry.MustRegister(
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
			links, certificate, storemetrics.NewStore(n.store.Stats),
		)
		registry.MustRegister(more...)
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return &program.UsageError{Setting: "metrics-listen", Reason: err.Error() + ": choose a free address"}
		}
		server := &http.Server{Handler: mux, ReadHeaderTimeout: 15 * time.Second}
		defer context.AfterFunc(ctx, func() { server.Close() })()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}
