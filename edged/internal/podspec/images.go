package podspec

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/edged/runtime"
)

// Images lists the images that a pod names: those of its containers of every kind,
// and those that it mounts.
func Images(pod *corev1.Pod) []string {
	var out []string
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			out = append(out, list[i].Image)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		out = append(out, pod.Spec.EphemeralContainers[i].Image)
	}
	for i := range pod.Spec.Volumes {
		if v := pod.Spec.Volumes[i].Image; v != nil {
			out = append(out, v.Reference)
		}
	}
	return out
}

// ImageVolumes lists the volumes of a pod that are images and that a container mounts,
// each once.
func ImageVolumes(pod *corev1.Pod, c *corev1.Container) []*corev1.Volume {
	var out []*corev1.Volume
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
		if v.Image != nil && mounted {
			out = append(out, v)
		}
	}
	return out
}

// CheckImageVolumes says why a container cannot have its image volumes, before their
// images are pulled.
func CheckImageVolumes(pod *corev1.Pod, c *corev1.Container, can runtime.Features) error {
	for _, v := range ImageVolumes(pod, c) {
		if err := checkImageVolume(v.Name, can); err != nil {
			return err
		}
	}
	return nil
}

func checkImageVolume(name string, can runtime.Features) error {
	if !can.ImageVolumes {
		return fmt.Errorf("volume %q is an image, and the container runtime of this node cannot mount one: use containerd 2.1 or later, or CRI-O 1.31 or later", name)
	}
	return nil
}

func isImage(pod *corev1.Pod, volume string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == volume && v.Image != nil })
}
