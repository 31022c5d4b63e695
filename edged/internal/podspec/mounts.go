package podspec

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
	"github.com/edgekit/edgekit/edged/volume"
)

// mounts binds the pod's volumes into a container, and the pod's hosts file unless
// a volume is mounted there.
func (b *Builder) mounts(pod *corev1.Pod, req ContainerRequest, env *environment, can runtime.Features) ([]runtime.Mount, error) {
	var out []runtime.Mount
	hosts := false
	for i, vm := range req.Spec.VolumeMounts {
		m, err := b.mount(pod, req, i, env, can)
		if err != nil {
			return nil, err
		}
		// A relative mountPath is one below the root, as in a kubelet.
		if !path.IsAbs(m.ContainerPath) {
			m.ContainerPath = path.Join("/", m.ContainerPath)
		}
		if vm.MountPropagation != nil && *vm.MountPropagation != corev1.MountPropagationNone {
			m.Propagation = string(*vm.MountPropagation)
		}
		if m.RecursiveReadOnly, err = recursiveReadOnly(vm, can); err != nil {
			return nil, err
		}
		// A pod that mounts /etc/hosts itself gets no managed file.
		hosts = hosts || path.Clean(m.ContainerPath) == "/etc/hosts"
		out = append(out, m)
	}
	if !hosts {
		var ips []string
		for _, ip := range pod.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		file, err := b.writeHosts(pod, ips)
		if err != nil {
			return nil, err
		}
		out = append(out, runtime.Mount{ContainerPath: "/etc/hosts", HostPath: file, Relabel: true})
	}
	return out, nil
}

// mount is what a container's i-th mount shows, but for how it is mounted.
func (b *Builder) mount(pod *corev1.Pod, req ContainerRequest, i int, env *environment, can runtime.Features) (runtime.Mount, error) {
	vm := &req.Spec.VolumeMounts[i]
	m := runtime.Mount{ContainerPath: vm.MountPath}
	sub, err := subPath(vm, env)
	if err != nil {
		return m, err
	}
	if isImage(pod, vm.Name) {
		img, ok := req.VolumeImages[vm.Name]
		if !ok {
			return m, fmt.Errorf("the image of volume %q is not on the node", vm.Name)
		}
		// All mounts of images are read-only (KEP-4639). The runtime finds the sub path.
		m.Image, m.ImageSubPath, m.ReadOnly, m.Relabel = img.ID, sub, true, true
		return m, checkImageVolume(vm.Name, can)
	}
	v, err := b.cfg.Volumes.Lookup(pod, vm.Name)
	if err != nil {
		return m, err
	}
	m.HostPath, m.ReadOnly, m.Relabel = v.Path, vm.ReadOnly || v.ReadOnly, v.Relabel
	if sub != "" {
		// The volume manager opens it: it lets no symbolic link lead out of the volume.
		m.HostPath, err = b.cfg.Volumes.SubPath(pod, volume.Use{Container: req.Spec.Name, Index: i, Volume: vm.Name, SubPath: sub, ReadOnly: vm.ReadOnly})
	}
	return m, err
}

// recursiveReadOnly decides whether what is mounted below a read-only mount is
// read-only as well (KEP-3857).
func recursiveReadOnly(vm corev1.VolumeMount, can runtime.Features) (bool, error) {
	if vm.RecursiveReadOnly == nil || *vm.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return false, nil
	}
	if *vm.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled && !can.RecursiveReadOnlyMounts {
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not supported by the runtime: use IfPossible, or a newer kernel (5.12) and runtime", vm.Name)
	}
	return can.RecursiveReadOnlyMounts, nil
}

// subPath is the part of its volume that a mount shows; "" is the whole.
func subPath(vm *corev1.VolumeMount, env *environment) (string, error) {
	if vm.SubPathExpr == "" {
		return vm.SubPath, nil
	}
	unknown := ""
	sub := expand(vm.SubPathExpr, func(name string) (string, bool) {
		v, ok := env.lookup(name)
		if !ok {
			unknown = name
		}
		return v, ok
	})
	if unknown != "" {
		return "", fmt.Errorf("failed to expand subPathExpr %q: missing value for %q", vm.SubPathExpr, unknown)
	}
	// The API server checks subPath, but it cannot check what an expression gives.
	if path.IsAbs(sub) || strings.Contains(sub, "`") {
		return "", fmt.Errorf("subPathExpr %q expands to %q, which is no relative path", vm.SubPathExpr, sub)
	}
	return sub, nil
}
