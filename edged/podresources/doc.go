// Package podresources serves the kubelet's pod-resources API: which devices, CPUs and
// memory each container has, for monitors of devices and for agents of node topology.
//
//	server, err := podresources.New(podresources.Config{Node: agent, Devices: manager})
//	// in one goroutine: err = server.Run(ctx)
//
// The socket is /var/lib/kubelet/pod-resources/kubelet.sock, which clients have in their
// code; only root may open it. The services are v1.PodResourcesLister (List, Get,
// GetAllocatableResources) and List of v1alpha1.PodResourcesLister, as in
// k8s.io/kubelet/pkg/apis/podresources. There are 100 calls a second at most, and 10 at
// once, as in a kubelet; the code of one more is ResourceExhausted.
//
// What resource claims give (DRA) comes from Config.Claims.
package podresources
