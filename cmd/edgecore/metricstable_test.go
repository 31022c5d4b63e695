package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/metricstest"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged/cri/critest"
	"github.com/edgekit/edgekit/edged/runtimetest"
)

//go:generate env EDGEKIT_UPDATE=1 go test -count=1 -run ^TestMetricsTable$ .

// assembled runs check with the registry of an edgecore that has every part and runs none.
func assembled(t *testing.T, check func(*node)) {
	t.Helper()
	data, err := os.MkdirTemp("", "ec") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(data) })
	if err := os.CopyFS(data, os.DirFS(joined(t, -30*time.Minute))); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	c := &cli{}
	run := func(ctx context.Context, r *runCmd) error {
		rt, err := r.runtime(ctx, log)
		if err != nil {
			return err
		}
		defer rt.Close()
		n, err := openNode(data, r.Cloud, r.Transport, "", log)
		if err != nil {
			return err
		}
		defer n.Close()
		if _, err := r.assemble(ctx, n, c, rt, log); err != nil {
			return err
		}
		check(n)
		return nil
	}
	p := program.Program{Name: "edgecore", CLI: c, ConfigFile: filepath.Join(data, "none.yaml"), Stdout: io.Discard, Stderr: t.Output(), Command: func(command any) program.Runner {
		return func(ctx context.Context, _ program.Output) error { return run(ctx, command.(*runCmd)) }
	}}
	if code := p.Run(t.Context(), []string{
		"--no-cgroups-per-qos", "--eviction-hard", "", "--data-dir", data, "--runtime-endpoint", critest.Serve(t, runtimetest.New()),
		"--pod-log-dir", filepath.Join(data, "logs"), "--container-log-links", "", "--cloud", "127.0.0.1:1", "--transport", "websocket", "--kernel-log", "",
		"--no-local-api", "--mqtt-listen", "unix://" + filepath.Join(data, "mqtt.sock"), "--mqtt-mode", "both", "--mqtt-broker", "tcp://127.0.0.1:1", "--dmi-listen", "unix://" + filepath.Join(data, "dmi.sock"),
	}); code != 0 {
		t.Fatalf("exit %d", code)
	}
}

// TestMetricsTable: the published table has what edgecore serves.
func TestMetricsTable(t *testing.T) {
	assembled(t, func(n *node) {
		metricstest.Table{Program: "edgecore", Rows: metricstest.Read(t, quietKinds(), n.metrics, n.kubelet)}.Check(t)
	})
}

// quietKinds are the kinds of metrics that have no series on a node that does nothing.
func quietKinds() metricstest.Kinds {
	kinds := make(metricstest.Kinds)
	for kind, names := range map[string]string{
		"counter": `kubelet_evictions kubelet_pod_resources_endpoint_requests_get kubelet_pod_resources_endpoint_requests_get_allocatable
			kubelet_pod_resources_endpoint_requests_list`,
		"gauge": `edgekit_clock_skew_seconds edgekit_hub_entering edgekit_hub_sessions kubelet_cgroup_version kubelet_http_inflight_requests kubelet_pod_pending_resizes
			kubelet_running_containers kubelet_volume_stats_available_bytes kubelet_volume_stats_capacity_bytes kubelet_volume_stats_inodes
			kubelet_volume_stats_inodes_free kubelet_volume_stats_inodes_used kubelet_volume_stats_used_bytes volume_manager_total_volumes`,
		"histogram": `dra_grpc_operations_duration_seconds dra_operations_duration_seconds kubelet_cgroup_manager_duration_seconds
			kubelet_device_plugin_alloc_duration_seconds kubelet_http_requests_duration_seconds kubelet_image_pull_duration_seconds
			kubelet_pod_deferred_resize_duration_seconds kubelet_pod_resize_duration_milliseconds kubelet_pod_worker_duration_seconds
			storage_operation_duration_seconds`,
	} {
		for name := range strings.FieldsSeq(names) {
			kinds[name] = kind
		}
	}
	return kinds
}
