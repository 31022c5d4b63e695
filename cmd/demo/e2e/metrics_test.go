package e2e

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/edgekit/edgekit/cmd/cluster/devcluster"
	"github.com/edgekit/edgekit/cmd/cluster/process"
	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

//go:embed metrics.yaml
var metricsYAML string

// TestMetrics is "make e2e-metrics": the stock metrics-server asks the edge node
// for its figures, kubectl top shows them, and by them the stock autoscaler
// scales a Deployment up.
func TestMetrics(t *testing.T) {
	if os.Getenv("METRICS_SERVER") == "" {
		t.Skip("METRICS_SERVER is not set: make e2e-metrics")
	}
	s := newSite(t)
	story(t, s)
	if t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	startMetricsServer(ctx, t, s)
	k := newKube(t, s)
	cpu, memory := top(ctx, k, "node", tour.Node)
	t.Logf("RESULT top_node_cpu %d m", cpu)
	t.Logf("RESULT top_node_memory %d MiB", memory)
	cpu, memory = top(ctx, k, "pod", "-n", tour.Namespace, "-l", "app=busy")
	t.Logf("RESULT top_pod_cpu %d m", cpu)
	t.Logf("RESULT top_pod_memory %d MiB", memory)
	if cpu < 50 || cpu > 200 {
		t.Errorf("a pod that is busy and limited to 100 m uses %d m", cpu)
	}
	began := time.Now()
	var scaler autoscalingv2.HorizontalPodAutoscaler
	k.until(ctx, func() error {
		if err := s.Kube().Get(ctx, &scaler, "-n", tour.Namespace, "hpa", "busy"); err != nil {
			return err
		}
		if scaler.Status.CurrentReplicas != scaler.Spec.MaxReplicas {
			return fmt.Errorf("%d replicas: %+v", scaler.Status.CurrentReplicas, scaler.Status.Conditions)
		}
		return nil
	})
	k.ready(ctx, "busy", int(scaler.Spec.MaxReplicas))
	t.Logf("RESULT hpa_replicas %d count", scaler.Status.CurrentReplicas)
	t.Logf("RESULT hpa_scaled_after %.0f s", time.Since(began).Seconds())
}

// startMetricsServer starts it on the host, as a client of the API server like
// any other, and the objects that make use of it.
func startMetricsServer(ctx context.Context, t *testing.T, s *site.Site) {
	t.Helper()
	if err := s.BuildExtra(ctx, "metrics-server"); err != nil {
		t.Fatal(err)
	}
	free, err := devcluster.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	port := strconv.Itoa(free[0])
	config := s.Kubeconfig()
	if _, err := s.Start(process.Spec{Name: "metrics-server", Path: s.Built("metrics-server"), Args: []string{
		"--kubeconfig=" + config, "--authentication-kubeconfig=" + config, "--authorization-kubeconfig=" + config,
		"--bind-address=127.0.0.1", "--secure-port=" + port, "--cert-dir=" + filepath.Join(s.Dir(), "metrics-server"),
		"--metric-resolution=15s",
		// These two are in its stock manifest, or in that of any cluster whose
		// kubelets sign their own certificates.
		"--kubelet-use-node-status-port", "--kubelet-insecure-tls",
	}}); err != nil {
		t.Fatal(err)
	}
	newKube(t, s).run(ctx, strings.Replace(metricsYAML, "PORT", port, 1), "apply", "-f", "-")
}

// top waits until kubectl top shows the one thing asked for, and gives millicores
// and MiB.
func top(ctx context.Context, k kube, what string, args ...string) (cpu, memory int64) {
	k.t.Helper()
	var lines []string
	k.until(ctx, func() error {
		out, err := k.s.Kube().Run(ctx, "", append([]string{"top", what, "--no-headers"}, args...)...)
		if err != nil {
			return err
		}
		lines = strings.Split(strings.TrimSpace(out), "\n")
		if len(lines) != 1 {
			return fmt.Errorf("kubectl top %s says %q", what, lines)
		}
		return nil
	})
	k.t.Logf("kubectl top %s: %s", what, lines[0])
	f := strings.Fields(lines[0]) // name, cpu, for a node its share, memory
	at := map[string]int{"node": 3, "pod": 2}[what]
	if len(f) <= at {
		k.t.Fatalf("kubectl top %s says %q", what, lines[0])
	}
	c, err := resource.ParseQuantity(f[1])
	if err != nil {
		k.t.Fatal(err)
	}
	m, err := resource.ParseQuantity(f[at])
	if err != nil {
		k.t.Fatal(err)
	}
	return c.MilliValue(), m.Value() >> 20
}
