package edged

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/internal/agentmetrics"
	"github.com/edgekit/edgekit/edged/internal/plan"
	"github.com/edgekit/edgekit/edged/static"
	"github.com/edgekit/edgekit/edged/volume"
)

// PodsGroup is the control group of all pods, such as /kubepods; "" until the runtime has said how
// it makes groups.
func (a *Agent) PodsGroup() string { return a.groups.Top() }

// SystemInfo is what the Node says of the machine; it is empty before Run.
func (a *Agent) SystemInfo() corev1.NodeSystemInfo { return a.node.SystemInfo() }

// passKind is what the next look at the pod is for, in the words of the metric.
func (w *worker) passKind() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.deleted, w.pod.DeletionTimestamp != nil, w.rejected != nil:
		return agentmetrics.Terminate
	case !w.reported:
		return agentmetrics.Create
	}
	return agentmetrics.Sync
}

// podCounts are how many pods, containers and volumes the node has now.
type podCounts struct {
	running         int
	desired, active map[bool]int // by whether the pod is static
	mirrors         int
	containers      map[string]int    // by the kubelet's word for their state
	volumes         map[[2]string]int // by the plugin, and by "desired" or "actual" and what follows
	perPod          []int             // how many containers each pod has
}

// countPods counts what podCounts has.
func (a *Agent) countPods() podCounts {
	n := podCounts{desired: make(map[bool]int), active: make(map[bool]int), containers: make(map[string]int), volumes: make(map[[2]string]int)}
	a.eachWorker(func(w *worker) {
		w.mu.Lock()
		pod, st, mounted, mirrored := w.pod, w.reportedStatus, w.mem.SetUp || w.alive, w.mirrorUID != ""
		isOver := plan.IsTerminal(pod.Status.Phase) || w.rejected != nil || st != nil && plan.IsTerminal(st.Phase)
		w.mu.Unlock()
		isStatic := static.Is(pod)
		n.desired[isStatic]++
		if mirrored {
			n.mirrors++
		}
		n.perPod = append(n.perPod, len(pod.Spec.Containers))
		n.countContainers(st)
		if isOver {
			return
		}
		n.active[isStatic]++
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i]
			if !volume.Used(pod, v) {
				continue
			}
			plugin := a.volumes.Plugin(pod, v)
			n.volumes[[2]string{plugin, "desired_state_of_world"}]++
			if mounted {
				n.volumes[[2]string{plugin, "actual_state_of_world"}]++
			}
		}
	})
	return n
}

// countContainers counts the containers of a pod by their states.
func (n *podCounts) countContainers(st *corev1.PodStatus) {
	if st == nil {
		return
	}
	runs := false
	for _, list := range [][]corev1.ContainerStatus{st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses} {
		for _, c := range list {
			switch {
			case c.State.Running != nil:
				n.containers["running"]++
				runs = true
			case c.State.Terminated != nil:
				n.containers["exited"]++
			case c.ContainerID != "":
				n.containers["created"]++
			}
		}
	}
	if runs {
		n.running++
	}
}

// countDescs are the metrics of podCounts, under the kubelet's names.
type countDescs struct {
	running, containers, desired, active, mirrors, perPod, volumes, cgroups *prometheus.Desc
}

func newCountDescs() countDescs {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return countDescs{
		running:    desc("kubelet_running_pods", "Number of pods that have a running container."),
		containers: desc("kubelet_running_containers", "Number of containers by their state.", "container_state"),
		desired:    desc("kubelet_desired_pods", "Number of pods that the node was given.", "static"),
		active:     desc("kubelet_active_pods", "Number of pods that are not over.", "static"),
		mirrors:    desc("kubelet_mirror_pods", "Number of static pods that the API server shows."),
		perPod:     desc("kubelet_containers_per_pod_count", "Number of containers of each pod."),
		volumes:    desc("volume_manager_total_volumes", "Number of volumes: of the pods that the node was given, and of those that were prepared.", "plugin_name", "state"),
		cgroups:    desc("kubelet_cgroup_version", "Version of the machine's control groups."),
	}
}

// describe describes what collectCounts sends.
func (c countDescs) describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.running, c.containers, c.desired, c.active, c.mirrors, c.perPod, c.volumes, c.cgroups} {
		ch <- d
	}
}

// collectCounts sends how many pods, containers and volumes the node has now.
func (a *Agent) collectCounts(ch chan<- prometheus.Metric) {
	n := a.countPods()
	send := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	send(a.counts.running, n.running)
	for state, count := range n.containers {
		send(a.counts.containers, count, state)
	}
	for _, isStatic := range []bool{false, true} {
		label := "" // the kubelet's words
		if isStatic {
			label = "true"
		}
		send(a.counts.desired, n.desired[isStatic], label)
		send(a.counts.active, n.active[isStatic], label)
	}
	send(a.counts.mirrors, n.mirrors)
	for key, count := range n.volumes {
		send(a.counts.volumes, count, key[0], key[1])
	}
	if groups := a.groups.Load(); groups != nil {
		version := 1
		if groups.V2() {
			version = 2
		}
		send(a.counts.cgroups, version)
	}
	buckets := map[float64]uint64{1: 0, 2: 0, 4: 0, 8: 0, 16: 0}
	sum := 0
	for _, count := range n.perPod {
		sum += count
		for most := range buckets {
			if float64(count) <= most {
				buckets[most]++
			}
		}
	}
	ch <- prometheus.MustNewConstHistogram(a.counts.perPod, uint64(len(n.perPod)), float64(sum), buckets)
}
