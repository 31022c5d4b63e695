package agentmetrics_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/agentmetrics"
)

// counted collects the counts of pods.
type counted struct {
	agentmetrics.Counts

	pods []agentmetrics.Pod
}

func (c counted) Collect(ch chan<- prometheus.Metric) { c.Counts.Collect(ch, c.pods, 2) }

// TestCounts: pods are counted by whether they are static and over, containers by their states, and
// the volumes of pods that are not over by whether they are prepared.
func TestCounts(t *testing.T) {
	running := corev1.ContainerStatus{ContainerID: "a", State: corev1.ContainerState{Running: new(corev1.ContainerStateRunning)}}
	exited := corev1.ContainerStatus{ContainerID: "b", State: corev1.ContainerState{Terminated: new(corev1.ContainerStateTerminated)}}
	c := counted{agentmetrics.NewCounts(), []agentmetrics.Pod{
		{Status: &corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{running, exited}}, Containers: 2, Volumes: []string{"configmap"}, Prepared: true},
		{Static: true, Mirrored: true, Containers: 1, Volumes: []string{"configmap"}},
		{Status: &corev1.PodStatus{InitContainerStatuses: []corev1.ContainerStatus{exited}}, Containers: 1, Volumes: []string{"configmap"}, Over: true},
	}}
	const want = `
# HELP kubelet_active_pods Number of pods that are not over.
# TYPE kubelet_active_pods gauge
kubelet_active_pods{static=""} 1
kubelet_active_pods{static="true"} 1
# HELP kubelet_cgroup_version Version of the machine's control groups.
# TYPE kubelet_cgroup_version gauge
kubelet_cgroup_version 2
# HELP kubelet_desired_pods Number of pods that the node was given.
# TYPE kubelet_desired_pods gauge
kubelet_desired_pods{static=""} 2
kubelet_desired_pods{static="true"} 1
# HELP kubelet_mirror_pods Number of static pods that the API server shows.
# TYPE kubelet_mirror_pods gauge
kubelet_mirror_pods 1
# HELP kubelet_running_containers Number of containers by their state.
# TYPE kubelet_running_containers gauge
kubelet_running_containers{container_state="exited"} 2
kubelet_running_containers{container_state="running"} 1
# HELP kubelet_running_pods Number of pods that have a running container.
# TYPE kubelet_running_pods gauge
kubelet_running_pods 1
# HELP volume_manager_total_volumes Number of volumes: of the pods that the node was given, and of those that were prepared.
# TYPE volume_manager_total_volumes gauge
volume_manager_total_volumes{plugin_name="configmap",state="actual_state_of_world"} 1
volume_manager_total_volumes{plugin_name="configmap",state="desired_state_of_world"} 2
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "kubelet_active_pods", "kubelet_cgroup_version", "kubelet_desired_pods", "kubelet_mirror_pods",
		"kubelet_running_containers", "kubelet_running_pods", "volume_manager_total_volumes"); err != nil {
		t.Error(err)
	}
}
