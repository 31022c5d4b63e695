package podspec

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// A field of a pod that this node does not act upon is refused; it is never
// ignored. testdata/fields.txt lists every field, and the test beside it fails
// when a new Kubernetes adds one. There are three places to refuse, and the
// choice between them is the kubelet's:
//
//   - At admission the pod becomes Failed (admission.Request.Decide): for what the
//     kubelet checks there, such as resources, host ports, node labels, sysctls,
//     AppArmor, features that a node declares. A controller replaces such a
//     pod at once, so that nothing else is refused here.
//   - Before its sandbox the pod stays Pending and is tried again, with a growing
//     pause up to setUpRetryMax (UnsupportedPod, RefuseSandbox): runtime classes and
//     user namespaces that the runtime does not have, resource claims, fields of
//     volumes. Each try repeats the Warning event.
//   - At a container the container waits with CreateContainerConfigError and is
//     tried again (unsupportedContainer): what concerns one container only.

// The reasons of events and of waiting containers.
const (
	reasonSandbox = "FailedCreatePodSandBox"
	reasonMount   = "FailedMount"
	// ReasonClaims is that of a pod whose resource claims are not prepared.
	ReasonClaims = "FailedPrepareDynamicResources"
)

// UnsupportedError says why a pod gets no sandbox. Reason is that of the event.
type UnsupportedError struct{ Reason, Message string }

func (r *UnsupportedError) Error() string { return r.Message }

// remedy is the remedy for what only this kind of node lacks.
const remedy = "remove the field or run the pod on another node"

// UnsupportedPod finds the first field that keeps the pod from getting a sandbox
// on this node; nil if there is none. It is pure.
func UnsupportedPod(pod *corev1.Pod) *UnsupportedError {
	spec := &pod.Spec
	switch {
	case WantsUserNamespace(pod) && sharesHost(pod) != "":
		return &UnsupportedError{reasonSandbox, fmt.Sprintf("hostUsers: false and %s exclude each other: remove one of the two", sharesHost(pod))}
	}
	for i := range spec.Volumes {
		if field := unsupportedVolume(&spec.Volumes[i].VolumeSource); field != "" {
			return &UnsupportedError{reasonMount, fmt.Sprintf("volume %q: %s is not supported on this node: %s", spec.Volumes[i].Name, field, remedy)}
		}
	}
	return nil
}

// HasClaims reports whether the pod has resource claims.
func HasClaims(pod *corev1.Pod) bool {
	return len(pod.Spec.ResourceClaims) > 0 || pod.Status.ExtendedResourceClaimStatus != nil
}

// UnpreparedClaims says why a pod's resource claims are not prepared. A nil error means that
// the node prepares none.
func UnpreparedClaims(pod *corev1.Pod, err error) *UnsupportedError {
	switch {
	case err != nil:
		return &UnsupportedError{ReasonClaims, err.Error()}
	case len(pod.Spec.ResourceClaims) > 0:
		return &UnsupportedError{ReasonClaims, fmt.Sprintf("resource claims (spec.resourceClaims: %s) are not supported on this node: %s", pod.Spec.ResourceClaims[0].Name, remedy)}
	}
	return &UnsupportedError{ReasonClaims, "the resource claim for extended resources is not supported on this node: run the pod on another node"}
}

// WantsUserNamespace reports whether the pod runs in a user namespace of its own
// (KEP-127).
func WantsUserNamespace(pod *corev1.Pod) bool {
	return pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers
}

// sharesHost names a field by which the pod is in a namespace of the host that cannot be
// had with a user namespace; "" without one. The API server refuses such a pod; a static
// pod has not passed it.
func sharesHost(pod *corev1.Pod) string {
	switch spec := &pod.Spec; {
	case spec.HostNetwork:
		return "hostNetwork"
	case spec.HostPID:
		return "hostPID"
	case spec.HostIPC:
		return "hostIPC"
	}
	return ""
}

// RefuseSandbox is an error for a pod that gets no sandbox for now; the message says why,
// and what to do.
func RefuseSandbox(format string, args ...any) *UnsupportedError {
	return &UnsupportedError{reasonSandbox, fmt.Sprintf(format, args...)}
}

// unsupportedVolume names a field of a supported kind of volume that is not acted
// upon. Kinds that are not supported at all are refused by edged/volume.
func unsupportedVolume(v *corev1.VolumeSource) string {
	keys := func(items []corev1.KeyToPath) bool {
		return slices.ContainsFunc(items, func(k corev1.KeyToPath) bool { return k.User != nil })
	}
	files := func(items []corev1.DownwardAPIVolumeFile) bool {
		return slices.ContainsFunc(items, func(f corev1.DownwardAPIVolumeFile) bool { return f.User != nil })
	}
	switch {
	case v.EmptyDir != nil && v.EmptyDir.Mode != nil:
		return "emptyDir.mode"
	case v.Secret != nil && (v.Secret.DefaultUser != nil || keys(v.Secret.Items)),
		v.ConfigMap != nil && (v.ConfigMap.DefaultUser != nil || keys(v.ConfigMap.Items)),
		v.DownwardAPI != nil && (v.DownwardAPI.DefaultUser != nil || files(v.DownwardAPI.Items)):
		return "a user of its files"
	case v.Projected == nil:
		return ""
	case v.Projected.DefaultUser != nil:
		return "a user of its files"
	}
	for _, s := range v.Projected.Sources {
		if s.Secret != nil && keys(s.Secret.Items) || s.ConfigMap != nil && keys(s.ConfigMap.Items) ||
			s.DownwardAPI != nil && files(s.DownwardAPI.Items) || s.ServiceAccountToken != nil && s.ServiceAccountToken.User != nil ||
			s.ClusterTrustBundle != nil && s.ClusterTrustBundle.User != nil || s.PodCertificate != nil && s.PodCertificate.User != nil {
			return "a user of its files"
		}
	}
	return ""
}

// SandboxFailure is the reason and the message of the event for a pod that got no
// sandbox.
func SandboxFailure(err error) (reason, message string) {
	var r *UnsupportedError
	if !errors.As(err, &r) || r.Reason == reasonSandbox {
		return reasonSandbox, "Failed to create pod sandbox: " + err.Error()
	}
	if r.Reason == ReasonClaims {
		return r.Reason, "Failed to prepare dynamic resources: " + r.Message
	}
	return r.Reason, "MountVolume.SetUp failed: " + r.Message
}

// unsupportedContainer is an error that names the first field of a container that
// this node does not act upon; nil if there is none.
func unsupportedContainer(c *corev1.Container) error {
	refuse := func(field string) error {
		return fmt.Errorf("container %q: %s is not supported on this node: %s", c.Name, field, remedy)
	}
	for _, m := range c.VolumeMounts {
		if len(m.BindMountOptions) > 0 {
			return refuse(fmt.Sprintf("bindMountOptions of the volume mount %q", m.Name))
		}
	}
	for name, p := range map[string]*corev1.Probe{"livenessProbe": c.LivenessProbe, "readinessProbe": c.ReadinessProbe, "startupProbe": c.StartupProbe} {
		switch {
		case p == nil:
		case p.GRPC != nil && p.GRPC.Mode != nil && *p.GRPC.Mode != corev1.GRPCProbeModePlaintext:
			return refuse(fmt.Sprintf("%s.grpc.mode %s", name, *p.GRPC.Mode))
		case p.HTTPGet != nil && IsUnsupportedProtocol(p.HTTPGet):
			return refuse(fmt.Sprintf("%s.httpGet.protocol %s", name, *p.HTTPGet.Protocol))
		}
	}
	return nil
}

// IsUnsupportedProtocol reports whether an httpGet asks for another protocol than
// HTTP/1.1.
func IsUnsupportedProtocol(g *corev1.HTTPGetAction) bool {
	return g.Protocol != nil && *g.Protocol != corev1.HTTPProtocolHTTP1
}
