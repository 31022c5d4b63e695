package edged

import (
	"fmt"
	"runtime"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// admitLocked decides whether the node takes a pod beside those that it has.
// The scheduler has decided before, but not for pods that name their node, and
// not always with the newest facts. It needs a.mu.
func (a *Agent) admitLocked(pod *corev1.Pod) *rejection {
	if pod.DeletionTimestamp != nil || over(pod.Status.Phase) || pod.Name == "" {
		return nil
	}
	var others []*corev1.Pod
	for _, w := range a.workers {
		if p := w.claims(); p != nil && p.UID != pod.UID {
			others = append(others, p)
		}
	}
	return admit(pod, others, a.node.allocatable(), a.cfg.AllowedSysctls)
}

// admit is admitLocked's decision, pure.
func admit(pod *corev1.Pod, others []*corev1.Pod, allocatable corev1.ResourceList, allowedSysctls []string) *rejection {
	if _, err := sysctls(pod, allowedSysctls); err != nil {
		return &rejection{"SysctlForbidden", err.Error()}
	}
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return &rejection{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	for label, have := range map[string]string{corev1.LabelOSStable: "linux", corev1.LabelArchStable: runtime.GOARCH} {
		if want, ok := pod.Spec.NodeSelector[label]; ok && want != have {
			return &rejection{"NodeAffinity", fmt.Sprintf("Pod was rejected: the node has %s=%s, the pod wants %s", label, have, want)}
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		want, capacity := podRequest(pod, name), allocatable[name]
		var used resource.Quantity
		for _, o := range others {
			used.Add(podRequest(o, name))
		}
		sum := used.DeepCopy()
		sum.Add(want)
		if !want.IsZero() && sum.Cmp(capacity) > 0 {
			show := func(q resource.Quantity) int64 {
				if name == corev1.ResourceCPU {
					return q.MilliValue()
				}
				return q.Value()
			}
			return &rejection{"OutOf" + string(name), fmt.Sprintf("Pod was rejected: Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, show(want), show(used), show(capacity))}
		}
	}
	if pods := allocatable[corev1.ResourcePods]; !pods.IsZero() && int64(len(others)) >= pods.Value() {
		return &rejection{"OutOfpods", fmt.Sprintf("Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", len(others), pods.Value())}
	}
	for _, mine := range hostPorts(pod) {
		for _, o := range others {
			for _, theirs := range hostPorts(o) {
				if mine.port == theirs.port && mine.protocol == theirs.protocol && (mine.ip == theirs.ip || mine.ip == "" || theirs.ip == "") {
					return &rejection{"NodePorts", fmt.Sprintf("Pod was rejected: host port %d/%s is taken by pod %s/%s", mine.port, mine.protocol, o.Namespace, o.Name)}
				}
			}
		}
	}
	return nil
}

type hostPort struct {
	port         int32
	protocol, ip string
}

func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			port := p.HostPort
			if port == 0 && pod.Spec.HostNetwork {
				port = p.ContainerPort
			}
			if port == 0 {
				continue
			}
			h := hostPort{port, string(p.Protocol), p.HostIP}
			if h.protocol == "" {
				h.protocol = "TCP"
			}
			if h.ip == "0.0.0.0" || h.ip == "::" {
				h.ip = ""
			}
			out = append(out, h)
		}
	}
	return out
}
