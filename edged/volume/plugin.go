package volume

import (
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Plugin is the kubelet's word for what makes a volume, such as kubernetes.io/empty-dir or
// kubernetes.io/csi:DRIVER. That of a claim is known once its volume was prepared; before it is
// kubernetes.io/persistent-claim.
func (m *Manager) Plugin(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.Image != nil:
		return "kubernetes.io/image"
	case v.CSI != nil:
		return pluginOf(kindCSI, v.CSI.Driver)
	case claimSource(pod, v) == nil:
		return "kubernetes.io/" + kind(v)
	}
	r, err := m.record(string(pod.UID), v.Name)
	if err != nil {
		return "kubernetes.io/persistent-claim"
	}
	return pluginOf(r.Kind, r.Driver)
}

// Used reports whether a container of the pod uses a volume: no other is prepared by a kubelet, nor
// counted.
func Used(pod *corev1.Pod, v *corev1.Volume) bool { return usageOf(pod, v.Name).used() }

// pluginOf is the word for a kind of storage.
func pluginOf(kind, driver string) string {
	switch kind {
	case kindLocal:
		return "kubernetes.io/local-volume"
	case kindHostPath:
		return "kubernetes.io/host-path"
	case kindCSI:
		return "kubernetes.io/csi:" + driver
	}
	return "kubernetes.io/" + kind
}

// pluginAt is the word for what is mounted at a path in the folder of a pod:
// FOLDER/volumes/kubernetes.io~KIND/NAME.
func pluginAt(dir, path string) string {
	rest, ok := strings.CutPrefix(path, filepath.Join(dir, "volumes")+"/")
	name, _, _ := strings.Cut(rest, "/")
	plugin, isPlugin := strings.CutPrefix(name, "kubernetes.io~")
	if !ok || !isPlugin {
		return "kubernetes.io/other"
	}
	return "kubernetes.io/" + plugin
}
