package agentmetrics

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
)

// Pod is what is counted of a pod.
type Pod struct {
	Status     *corev1.PodStatus // as last reported; nil if it never was
	Containers int               // of its spec, init containers left out
	Volumes    []string          // the plugins of the volumes that it uses
	Static     bool
	Mirrored   bool // the API server shows the static pod
	Over       bool // it has ended
	Prepared   bool // its volumes are prepared
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
func countPods(pods []Pod) podCounts {
	n := podCounts{desired: make(map[bool]int), active: make(map[bool]int), containers: make(map[string]int), volumes: make(map[[2]string]int)}
	for _, p := range pods {
		n.desired[p.Static]++
		if p.Mirrored {
			n.mirrors++
		}
		n.perPod = append(n.perPod, p.Containers)
		n.countContainers(p.Status)
		if p.Over {
			continue
		}
		n.active[p.Static]++
		for _, plugin := range p.Volumes {
			n.volumes[[2]string{plugin, "desired_state_of_world"}]++
			if p.Prepared {
				n.volumes[[2]string{plugin, "actual_state_of_world"}]++
			}
		}
	}
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

// Counts describes how many pods, containers and volumes a node has, under the kubelet's names. It
// keeps none of them. NewCounts makes it.
type Counts struct {
	running, containers, desired, active, mirrors, perPod, volumes, cgroups *prometheus.Desc
}

// NewCounts makes Counts.
func NewCounts() Counts {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return Counts{
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

// Describe describes what Collect sends.
func (c Counts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.running, c.containers, c.desired, c.active, c.mirrors, c.perPod, c.volumes, c.cgroups} {
		ch <- d
	}
}

// Collect sends how many pods, containers and volumes the node has now. cgroups is the version of
// the machine's control groups; 0 means that it is not known.
func (c Counts) Collect(ch chan<- prometheus.Metric, pods []Pod, cgroups int) {
	n := countPods(pods)
	send := func(d *prometheus.Desc, value int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), labels...)
	}
	send(c.running, n.running)
	for state, count := range n.containers {
		send(c.containers, count, state)
	}
	for _, isStatic := range []bool{false, true} {
		label := "" // the kubelet's words
		if isStatic {
			label = "true"
		}
		send(c.desired, n.desired[isStatic], label)
		send(c.active, n.active[isStatic], label)
	}
	send(c.mirrors, n.mirrors)
	for key, count := range n.volumes {
		send(c.volumes, count, key[0], key[1])
	}
	if cgroups > 0 {
		send(c.cgroups, cgroups)
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
	ch <- prometheus.MustNewConstHistogram(c.perPod, uint64(len(n.perPod)), float64(sum), buckets)
}
