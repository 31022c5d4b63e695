package agentmetrics

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/edged/internal/metricstext"
)

func TestMetrics(t *testing.T) {
	m := New("gate-7")
	m.PodRunning(700 * time.Millisecond)
	m.PodSynced(Create, time.Millisecond)
	at := time.Unix(1000, 0)
	m.Relisted(at, 20*time.Millisecond)
	m.Relisted(at.Add(time.Second), 20*time.Millisecond)
	m.SandboxMade(nil)
	m.SandboxMade(errors.New("no network"))
	m.ContainerStarted("container", "")
	m.ContainerStarted("init_container", "ErrImagePull")
	m.CgroupChanged("create", time.Millisecond)
	m.VolumeWorked("kubernetes.io/empty-dir", "volume_mount", nil, time.Millisecond)
	m.VolumeWorked("kubernetes.io/empty-dir", "volume_mount", errors.New("full"), time.Millisecond)
	m.ImagePulled(200<<20, 3*time.Second)
	var out strings.Builder
	if err := metricstext.Write(&out, m); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`kubelet_node_name{node="gate-7"} 1`, `kubelet_pod_start_duration_seconds_bucket{le="0.5"} 0`, `kubelet_pod_start_duration_seconds_bucket{le="1"} 1`,
		`kubelet_pod_worker_duration_seconds_count{operation_type="create"} 1`, "kubelet_pleg_relist_duration_seconds_count 2", "kubelet_pleg_relist_interval_seconds_count 1",
		"kubelet_pleg_relist_interval_seconds_sum 1", "kubelet_pleg_last_seen_seconds 1001", "kubelet_started_pods_total 2", "kubelet_started_pods_errors_total 1",
		`kubelet_started_containers_total{container_type="container"} 1`, `kubelet_started_containers_errors_total{code="ErrImagePull",container_type="init_container"} 1`,
		`kubelet_cgroup_manager_duration_seconds_count{operation_type="create"} 1`,
		`storage_operation_duration_seconds_count{migrated="false",operation_name="volume_mount",status="fail-unknown",volume_plugin="kubernetes.io/empty-dir"} 1`,
		`storage_operation_errors_total{operation_name="volume_mount",volume_plugin="kubernetes.io/empty-dir"} 1`,
		`kubelet_image_pull_duration_seconds_count{image_size_in_bytes="100MB-500MB"} 1`,
	} {
		if !strings.Contains(out.String(), "\n"+want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestSizeClass(t *testing.T) {
	for size, want := range map[uint64]string{0: "N/A", 1: "0-10MB", 10 << 20: "0-10MB", 10<<20 + 1: "10MB-100MB", 2 << 30: "1GB-5GB", 1 << 50: "GT100GB"} {
		if got := sizeClass(size); got != want {
			t.Errorf("%d is %s, want %s", size, got, want)
		}
	}
}
