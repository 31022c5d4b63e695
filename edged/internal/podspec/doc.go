// Package podspec turns the spec of a pod into what a container runtime needs to
// know: the configuration of the pod's sandbox and of its containers. It is the
// kubelet's pkg/kubelet/kuberuntime and pkg/kubelet/network/dns in one room.
//
//	b := podspec.New(podspec.Config{NodeName: "gate-7", Objects: objects, Volumes: volumes, ...})
//	sandbox, err := b.SandboxConfig(pod, 0, groups)
//	container, err := b.ContainerConfig(ctx, pod, podspec.ContainerRequest{Spec: c, Image: image}, node)
//
// Reading a spec is pure: environment variables, DNS, security contexts, resources,
// and what this node does not support ([UnsupportedPod]). Only a [Builder] does I/O:
// it reads config maps and secrets, and the host's resolver file, and writes the
// files that are bound into containers (/etc/hosts and the termination message).
//
// Functions and a Builder may be used by several goroutines at once. Pods that are
// passed in are never changed.
package podspec
