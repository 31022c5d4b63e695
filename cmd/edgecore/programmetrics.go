package main

import (
	goruntime "runtime"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/statsmetrics"
	"github.com/edgekit/edgekit/hub/join"
)

// processMetrics are those of this process: process_*.
func processMetrics() prometheus.Collector {
	return collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})
}

// programMetrics are what the kubelet's API shows of this program besides its pods, under the names
// of a kubelet: its process, and the certificate by which the cloud knows the node. The
// node has no certificate as a server: its kubelet endpoint is cloudcore's.
func programMetrics(identity func() join.IdentityStats, now func() time.Time) []prometheus.Collector {
	certificate := statsmetrics.New("kubelet_certificate_manager_client_", identity)
	certificate.Gauge("ttl_seconds", "Seconds until the node's certificate ends; below 0 since it has.", func(s join.IdentityStats) float64 {
		return s.Certificate.Sub(now()).Seconds()
	})
	certificate.Counter("expiration_renew_errors", "Renewals of the node's certificate that failed.", func(s join.IdentityStats) float64 { return float64(s.Failed) })
	return []prometheus.Collector{processMetrics(), collectors.NewGoCollector(), certificate}
}

// buildInfo is kubernetes_build_info for a version such as v1.37.2-edgekit-v0.1.0. Alerts compare its minor
// version with those of the other parts of the cluster.
func buildInfo(version string) prometheus.Collector {
	major, rest, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kubernetes_build_info", Help: "The release of Kubernetes that this node follows; git_commit is edgecore's own version. The value is 1.",
		ConstLabels: prometheus.Labels{
			"major": major, "minor": minor, "git_version": version, "git_commit": program.Version(), "git_tree_state": "", "build_date": "",
			"go_version": goruntime.Version(), "compiler": goruntime.Compiler, "platform": goruntime.GOOS + "/" + goruntime.GOARCH,
		},
	})
	info.Set(1)
	return info
}
