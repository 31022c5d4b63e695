package podresources

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/devices"
	"github.com/edgekit/edgekit/edged/internal/podspec"
	"github.com/edgekit/edgekit/edged/internal/protomsg"
)

// The numbers are those of podresources/v1/api.proto; a test reads the messages with the
// generated package.

// pod is a PodResources: the pod with its containers and sidecars.
func (s *Server) pod(pod *corev1.Pod) protomsg.Message {
	var m protomsg.Message
	m.Text(1, pod.Name)
	m.Text(2, pod.Namespace)
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; podspec.IsSidecar(c) {
			m.Part(3, s.container(pod, c.Name))
		}
	}
	for i := range pod.Spec.Containers {
		m.Part(3, s.container(pod, pod.Spec.Containers[i].Name))
	}
	return m
}

// container is a ContainerResources.
func (s *Server) container(pod *corev1.Pod, name string) protomsg.Message {
	var m protomsg.Message
	m.Text(1, name)
	if s.cfg.Devices != nil {
		for _, d := range s.cfg.Devices.Container(string(pod.UID), name) {
			m.Part(2, device(d))
		}
	}
	cpus, memory := s.cfg.Node.OwnResources(string(pod.UID), name)
	m.Packed(3, numbers(cpus))
	for _, b := range memory {
		m.Part(4, block(b))
	}
	if s.cfg.Claims != nil {
		for _, c := range s.cfg.Claims.ContainerClaims(pod, name) {
			m.Part(5, claim(c))
		}
	}
	return m
}

// device is a ContainerDevices, of one device as in a kubelet.
func device(d devices.Allocated) protomsg.Message {
	var m protomsg.Message
	m.Text(1, d.Resource)
	m.Item(2, d.ID)
	if d.Nodes != 0 {
		var nodes []int
		for n := range 64 {
			if d.Nodes>>n&1 == 1 {
				nodes = append(nodes, n)
			}
		}
		m.Part(3, topology(nodes))
	}
	return m
}

// block is a ContainerMemory.
func block(b edged.MemoryBlock) protomsg.Message {
	var m protomsg.Message
	m.Text(1, b.Type)
	m.Number(2, int64(b.Size)) //nolint:gosec // uint64 on the wire
	m.Part(3, topology(b.Nodes))
	return m
}

// topology is a TopologyInfo.
func topology(nodes []int) protomsg.Message {
	var m protomsg.Message
	for _, n := range nodes {
		var node protomsg.Message
		node.Number(1, int64(n))
		m.Part(1, node)
	}
	return m
}

// claim is a DynamicResource.
func claim(c Claim) protomsg.Message {
	var m protomsg.Message
	m.Text(2, c.Name)
	m.Text(3, c.Namespace)
	for _, d := range c.Devices {
		var one protomsg.Message
		for _, name := range d.CDIDevices {
			var cdi protomsg.Message
			cdi.Text(1, name)
			one.Part(1, cdi)
		}
		one.Text(2, d.Driver)
		one.Text(3, d.Pool)
		one.Text(4, d.Device)
		one.Text(5, d.ShareID)
		m.Part(4, one)
	}
	return m
}

func numbers(list []int) []int64 {
	out := make([]int64, 0, len(list))
	for _, n := range slices.Sorted(slices.Values(list)) {
		out = append(out, int64(n))
	}
	return out
}
