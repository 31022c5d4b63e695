package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/join/joinmetrics"
	"github.com/edgekit/edgekit/hub/metrics"
	storemetrics "github.com/edgekit/edgekit/meta/metrics"
)

// newRegistry makes the registry of all of edgecore's metrics: this process, its link, its identity
// and its store. The other parts add their own. The kubelet's API serves it on /metrics, so it can be
// read through the link, and monitor on an address of the node.
func newRegistry(n *node, link *link) (*prometheus.Registry, error) {
	links, err := metrics.New(metrics.Config{Stats: func() hub.Stats { return link.client.Load().Stats() }})
	if err != nil {
		return nil, err
	}
	certificate, err := joinmetrics.NewNode(n.identity)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(programMetrics(n.identity.Stats, time.Now)...)
	registry.MustRegister(links, certificate, storemetrics.NewStore(n.store.Stats), buildInfo(program.NodeVersion(edged.DefaultVersion)), newNodeMetrics(n.figures))
	return registry, nil
}

// monitor serves the kubelet's /metrics on addr until ctx ends. Without an addr it only waits.
func monitor(addr string, kubelet http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		if addr == "" {
			<-ctx.Done()
			return nil
		}
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", kubelet)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return &program.UsageError{Setting: "metrics-listen", Reason: err.Error() + ": choose a free address"}
		}
		server := &http.Server{
			Handler: mux, ReadHeaderTimeout: 15 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: time.Minute, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		}
		defer context.AfterFunc(ctx, func() { server.Close() })()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}
}
