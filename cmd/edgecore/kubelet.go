package main

import (
	"context"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/server"
	"github.com/edgekit/edgekit/edged/stats"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/httplink"
	"github.com/edgekit/edgekit/meta/resources"
)

// containerRuntime is what the agent needs of a container runtime.
type containerRuntime interface {
	runtime.Runtime
	runtime.Streams
	runtime.Meter
	prometheus.Collector
}

// kubelet makes the kubelet's API and has it served on the link. Its /metrics
// are the server's own and those of registry, also what is registered there later.
func (r *runCmd) kubelet(n *node, agent *edged.Agent, rt containerRuntime, state *nodeState, registry *prometheus.Registry, mux *hub.Mux, log *slog.Logger) (*server.Server, error) {
	log = component(log, "kubelet")
	usage, err := stats.New(stats.Config{
		Node: n.name, Meter: rt, Pods: agent, Volumes: agent.VolumeStats, Root: n.pods, DiskUsage: agent.DiskUsage, Containers: rt, PodsGroup: agent.PodsGroup, SystemInfo: agent.SystemInfo,
	})
	if err != nil {
		return nil, err
	}
	s, err := server.New(server.Config{
		Node: n.name, Pods: agent, Runtime: rt, Settings: r, Logger: log, Handlers: state.handlers(),
		Summary: func(ctx context.Context) (any, error) { return usage.Summary(ctx) }, Resource: usage.Resource, Cadvisor: usage.Cadvisor,
		Metrics: []prometheus.Collector{registry}, SLIs: []prometheus.Collector{processMetrics()}, Probes: agent.WriteProbeMetrics,
	})
	if err != nil {
		return nil, err
	}
	streams, err := httplink.NewServer(httplink.ServerConfig{Handler: s, Logger: log})
	if err != nil {
		return nil, err
	}
	mux.HandleStream(resources.NodeProxy, streams)
	return s, nil
}
