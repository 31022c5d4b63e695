package references

import (
	"crypto/sha256"
	"encoding/hex"
	"iter"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/resources"
)

// Of returns the keys of the config maps, secrets, persistent volume claims, CSI drivers, trust
// bundles, resource claims and runtime class that a node needs for the pod, optional ones included.
// What a persistent volume claim leads to is not in the pod: see OfClaim and OfVolume. Nor are trust
// bundles that are selected by their signer.
func Of(pod *corev1.Pod) map[meta.Key]struct{} {
	r := refs{namespace: pod.Namespace, keys: make(map[meta.Key]struct{})}
	for _, s := range pod.Spec.ImagePullSecrets {
		r.secret(s.Name)
	}
	for i := range pod.Spec.Volumes {
		r.volume(&pod.Spec.Volumes[i])
		if name := ClaimName(pod, &pod.Spec.Volumes[i]); name != "" {
			r.add(resources.PersistentVolumeClaims, name)
		}
	}
	for name := range ResourceClaims(pod) {
		r.add(resources.ResourceClaims, name)
	}
	if name := pod.Spec.RuntimeClassName; name != nil && *name != "" {
		r.keys[meta.Key{Resource: resources.RuntimeClasses, Name: *name}] = struct{}{}
	}
	for i := range pod.Spec.InitContainers {
		r.env(pod.Spec.InitContainers[i].Env, pod.Spec.InitContainers[i].EnvFrom)
	}
	for i := range pod.Spec.Containers {
		r.env(pod.Spec.Containers[i].Env, pod.Spec.Containers[i].EnvFrom)
	}
	for i := range pod.Spec.EphemeralContainers {
		r.env(pod.Spec.EphemeralContainers[i].Env, pod.Spec.EphemeralContainers[i].EnvFrom)
	}
	return r.keys
}

// ClaimName is the name of the claim behind a volume of a pod, "" for a volume
// without one. The claim of a generic ephemeral volume is named for the pod and
// the volume (KEP-1698).
func ClaimName(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// ResourceClaims gives the names of the pod's ResourceClaims, each with what pods and
// containers call it: those that the spec names, those that were made of a template, and
// the one for extended resources, which has no such name. It gives none that the cluster's
// controller has not made yet, or found not to be needed. They are those that a kubelet
// may read (resourceclaim.PodClaims of k8s.io/dynamic-resource-allocation).
func ResourceClaims(pod *corev1.Pod) iter.Seq2[string, string] {
	return func(yield func(name, podClaim string) bool) {
		for _, c := range pod.Spec.ResourceClaims {
			name := c.ResourceClaimName
			if name == nil && c.ResourceClaimTemplateName != nil {
				if i := slices.IndexFunc(pod.Status.ResourceClaimStatuses, func(s corev1.PodResourceClaimStatus) bool { return s.Name == c.Name }); i >= 0 {
					name = pod.Status.ResourceClaimStatuses[i].ResourceClaimName
				}
			}
			if name != nil && *name != "" && !yield(*name, c.Name) {
				return
			}
		}
		if st := pod.Status.ExtendedResourceClaimStatus; st != nil && st.ResourceClaimName != "" {
			yield(st.ResourceClaimName, "")
		}
	}
}

// OfClaim gives the key of the persistent volume that a claim is bound to, or
// false. Both must be set, the phase by the cluster's controller: who makes a
// claim may name any volume in it.
func OfClaim(claim *corev1.PersistentVolumeClaim) (meta.Key, bool) {
	if claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "" {
		return meta.Key{}, false
	}
	return meta.Key{Resource: resources.PersistentVolumes, Name: claim.Spec.VolumeName}, true
}

// OfVolume gives the keys of what a node needs to mount a persistent volume through a
// CSI driver: the driver's object and secrets.
func OfVolume(pv *corev1.PersistentVolume) map[meta.Key]struct{} {
	keys := make(map[meta.Key]struct{})
	csi := pv.Spec.CSI
	if csi == nil {
		return keys
	}
	if csi.Driver != "" {
		keys[meta.Key{Resource: resources.CSIDrivers, Name: csi.Driver}] = struct{}{}
	}
	for _, ref := range []*corev1.SecretReference{csi.NodeStageSecretRef, csi.NodePublishSecretRef, csi.NodeExpandSecretRef} {
		if ref != nil && ref.Name != "" && ref.Namespace != "" {
			keys[meta.Key{Resource: resources.Secrets, Namespace: ref.Namespace, Name: ref.Name}] = struct{}{}
		}
	}
	return keys
}

// AttachmentName is the name of the VolumeAttachment by which the cloud attaches a
// driver's volume to a node: getAttachmentName of Kubernetes' pkg/volume/csi.
func AttachmentName(driver, handle, node string) string {
	sum := sha256.Sum256([]byte(handle + driver + node))
	return "csi-" + hex.EncodeToString(sum[:])
}

// AttachmentOf gives the key of the VolumeAttachment of a persistent volume to a
// node; false for a volume without a CSI driver. A driver that needs no attaching
// has none: the object then never exists.
func AttachmentOf(pv *corev1.PersistentVolume, node string) (meta.Key, bool) {
	csi := pv.Spec.CSI
	if csi == nil || csi.Driver == "" || csi.VolumeHandle == "" {
		return meta.Key{}, false
	}
	return meta.Key{Resource: resources.VolumeAttachments, Name: AttachmentName(csi.Driver, csi.VolumeHandle, node)}, true
}

type refs struct {
	namespace string
	keys      map[meta.Key]struct{}
}

func (r *refs) secret(name string)    { r.add("secrets", name) }
func (r *refs) configMap(name string) { r.add("configmaps", name) }

func (r *refs) add(resource, name string) {
	if name != "" {
		r.keys[meta.Key{Resource: resource, Namespace: r.namespace, Name: name}] = struct{}{}
	}
}

func (r *refs) local(ref *corev1.LocalObjectReference) {
	if ref != nil {
		r.secret(ref.Name)
	}
}

func (r *refs) volume(v *corev1.Volume) {
	switch {
	case v.Secret != nil:
		r.secret(v.Secret.SecretName)
	case v.ConfigMap != nil:
		r.configMap(v.ConfigMap.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				r.secret(s.Secret.Name)
			}
			if s.ConfigMap != nil {
				r.configMap(s.ConfigMap.Name)
			}
			if b := s.ClusterTrustBundle; b != nil && b.Name != nil && *b.Name != "" {
				r.keys[meta.Key{Resource: resources.ClusterTrustBundles, Name: *b.Name}] = struct{}{}
			}
		}
	case v.CSI != nil:
		r.local(v.CSI.NodePublishSecretRef)
		if v.CSI.Driver != "" {
			r.keys[meta.Key{Resource: resources.CSIDrivers, Name: v.CSI.Driver}] = struct{}{}
		}
	case v.FlexVolume != nil:
		r.local(v.FlexVolume.SecretRef)
	case v.ISCSI != nil:
		r.local(v.ISCSI.SecretRef)
	case v.CephFS != nil:
		r.local(v.CephFS.SecretRef)
	case v.RBD != nil:
		r.local(v.RBD.SecretRef)
	}
}

func (r *refs) env(env []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, e := range env {
		if e.ValueFrom == nil {
			continue
		}
		if e.ValueFrom.SecretKeyRef != nil {
			r.secret(e.ValueFrom.SecretKeyRef.Name)
		}
		if e.ValueFrom.ConfigMapKeyRef != nil {
			r.configMap(e.ValueFrom.ConfigMapKeyRef.Name)
		}
	}
	for _, f := range from {
		if f.SecretRef != nil {
			r.secret(f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			r.configMap(f.ConfigMapRef.Name)
		}
	}
}
