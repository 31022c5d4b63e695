package edged_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/internal/metricstext"
	"github.com/edgekit/edgekit/edged/runtime"
)

// scrape gives the value of each series of an agent, buckets left out.
func scrape(t *testing.T, a *edged.Agent) map[string]float64 {
	t.Helper()
	var text strings.Builder
	if err := metricstext.Write(&text, a); err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for line := range strings.Lines(text.String()) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil && name != "#" && !strings.Contains(name, "_bucket") {
			out[name] = n
		}
	}
	return out
}

// TestAgentMetrics: a pod that starts, one whose container cannot start, and volumes are counted
// under the kubelet's names.
func TestAgentMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		agent, stop := startAgent(t, b.config())
		defer stop()
		p := newPod("web", busybox("serve"))
		p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}, {Name: "unused", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
		b.put(p)
		settle(time.Second)
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "CreateContainer") {
				return os.ErrInvalid
			}
			return nil
		})
		broken := newPod("broken", busybox("serve"))
		b.put(broken)
		settle(time.Second)
		got := scrape(t, agent)
		for name, want := range map[string]float64{
			`kubelet_node_name{node="edge"}`: 1, "kubelet_running_pods": 1, `kubelet_running_containers{container_state="running"}`: 1,
			`kubelet_desired_pods{static=""}`: 2, `kubelet_active_pods{static=""}`: 2, `kubelet_desired_pods{static="true"}`: 0, "kubelet_mirror_pods": 0,
			"kubelet_containers_per_pod_count_count": 2, "kubelet_pod_start_duration_seconds_count": 1, "kubelet_started_pods_total": 2, "kubelet_started_pods_errors_total": 0,
			`volume_manager_total_volumes{plugin_name="kubernetes.io/empty-dir",state="desired_state_of_world"}`: 1,
			`volume_manager_total_volumes{plugin_name="kubernetes.io/empty-dir",state="actual_state_of_world"}`:  1,
			"kubelet_pleg_discard_events": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s is %v %v, want %v", name, v, ok, want)
			}
		}
		for _, name := range []string{
			`kubelet_pod_worker_duration_seconds_count{operation_type="create"}`, `kubelet_pod_worker_duration_seconds_count{operation_type="sync"}`, "kubelet_pleg_relist_duration_seconds_count",
			"kubelet_pleg_last_seen_seconds", `kubelet_started_containers_total{container_type="container"}`,
			`kubelet_started_containers_errors_total{code="CreateContainerError",container_type="container"}`,
			`storage_operation_duration_seconds_count{migrated="false",operation_name="volume_mount",status="success",volume_plugin="kubernetes.io/empty-dir"}`,
		} {
			if got[name] < 1 {
				t.Errorf("%s is %v", name, got[name])
			}
		}
		// Nothing is counted by pod: the number of series does not grow with them.
		for name := range got {
			if strings.Contains(name, "web") || strings.Contains(name, "broken") {
				t.Error(name)
			}
		}
		if t.Failed() {
			t.Log(got)
		}
	})
}

// TestDiskUsage: what a pod writes into its volumes and logs is measured.
func TestDiskUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		agent, stop := startAgent(t, b.config())
		defer stop()
		p := newPod("web", busybox("serve"))
		p.Spec.Volumes = []corev1.Volume{{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}}
		b.put(p)
		settle(time.Second)
		before := agent.DiskUsage(t.Context())[string(p.UID)]
		dir := filepath.Join(b.config().Root, "pods", string(p.UID), "volumes/kubernetes.io~empty-dir/scratch")
		if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		after := agent.DiskUsage(t.Context())[string(p.UID)]
		if grown := after.Volumes["scratch"].Bytes - before.Volumes["scratch"].Bytes; grown < 1<<20 || after.Volumes["scratch"].Inodes != before.Volumes["scratch"].Inodes+1 {
			t.Errorf("from %+v to %+v", before, after)
		}
		if _, ok := after.Logs["main"]; !ok {
			t.Errorf("%+v", after)
		}
	})
}

// TestStartEvents: the Node's events say that the agent started, and that the machine was booted.
func TestStartEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.start()
		settle(time.Second)
		if b.happened("Starting") != 1 || b.happened("Rebooted") != 0 {
			t.Errorf("%q", b.seen())
		}
		b.stop()
		b.mu.Lock()
		b.node.Status.NodeInfo.BootID = "another boot"
		b.mu.Unlock()
		b.start()
		settle(time.Second)
		if b.happened("Starting") != 2 || b.happened("Rebooted") != 1 {
			t.Errorf("%q", b.seen())
		}
		b.rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkMessage: "cni plugin not initialized"})
		b.rt.FailWith(func(call string) error {
			if strings.HasPrefix(call, "RunSandbox") {
				return os.ErrInvalid
			}
			return nil
		})
		b.put(newPod("web", busybox("serve")))
		settle(time.Minute)
		if b.happened("NodeNotReady") != 1 || b.happened("NetworkNotReady") == 0 {
			t.Errorf("%q", b.seen())
		}
		b.rt.SetHealth(runtime.Health{RuntimeReady: true, NetworkReady: true})
		settle(time.Minute)
		if b.happened("NodeReady") != 1 {
			t.Errorf("%q", b.seen())
		}
		b.stop()
	})
}
