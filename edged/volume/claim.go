package volume

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/component-helpers/storage/ephemeral"
)

// ClaimReader reads claims and the volumes behind them, from what the node has
// stored. The error for an object that is not there matches
// interface{ NotFound() bool }.
type ClaimReader interface {
	// PersistentVolumeClaim reads a claim.
	PersistentVolumeClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error)
	// PersistentVolume reads a volume.
	PersistentVolume(ctx context.Context, name string) (*corev1.PersistentVolume, error)
}

// The kinds of storage that a volume may be on.
const (
	kindHostPath = "hostPath"
	kindLocal    = "local"
	kindNFS      = "nfs"
	kindCSI      = "csi"
)

// storage is what a volume of a pod is on, with all that was found out about it from
// the pod, the claim and the persistent volume.
type storage struct {
	kind      string
	name      string // in messages: that of the persistent volume, or of an inline volume
	hostPath  *corev1.HostPathVolumeSource
	path      string // of a local volume
	nfs       *corev1.NFSVolumeSource
	csi       *csiVolume
	options   []string // mount options
	readOnly  bool
	block     bool   // volumeMode Block
	exclusive bool   // ReadWriteOncePod is its only access mode
	gid       string // group for the pod, from an annotation of the volume; "" for none
}

// gidAnnotation names the group that a pod needs to write to a volume:
// https://kubernetes.io/docs/reference/labels-annotations-taints/#pv-beta-kubernetes-io-gid
const gidAnnotation = "pv.beta.kubernetes.io/gid"

// protection is the finalizer that keeps a claim while a pod uses it:
// https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
const protection = "kubernetes.io/pvc-protection"

// claimSource is the claim behind a volume, nil for a volume without one.
func claimSource(pod *corev1.Pod, v *corev1.Volume) *corev1.PersistentVolumeClaimVolumeSource {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim
	case v.Ephemeral != nil:
		return &corev1.PersistentVolumeClaimVolumeSource{ClaimName: ephemeral.VolumeClaimName(pod, v)}
	}
	return nil
}

// usage is how the containers of a pod use one of its volumes.
type usage struct{ mounted, device bool }

func (u usage) used() bool { return u.mounted || u.device }

func usageOf(pod *corev1.Pod, name string) usage {
	var u usage
	see := func(mounts []corev1.VolumeMount, devices []corev1.VolumeDevice) {
		u.mounted = u.mounted || slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return m.Name == name })
		u.device = u.device || slices.ContainsFunc(devices, func(d corev1.VolumeDevice) bool { return d.Name == name })
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			see(list[i].VolumeMounts, list[i].VolumeDevices)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		see(pod.Spec.EphemeralContainers[i].VolumeMounts, pod.Spec.EphemeralContainers[i].VolumeDevices)
	}
	return u
}

// checkClaim decides whether a claim is ready for a pod. The rules and the words are
// those of a kubelet: pkg/kubelet/volumemanager/populator, getPVCExtractPV.
func checkClaim(pod *corev1.Pod, v *corev1.Volume, claim *corev1.PersistentVolumeClaim) error {
	switch {
	case claim.DeletionTimestamp != nil && !slices.Contains(claim.Finalizers, protection):
		return errors.New("PVC is being deleted")
	case claim.Status.Phase != corev1.ClaimBound:
		return errors.New("PVC is not bound")
	case claim.Spec.VolumeName == "":
		return errors.New("PVC has empty pvc.Spec.VolumeName")
	case v.Ephemeral != nil:
		return ephemeral.VolumeIsForPod(pod, claim)
	}
	return nil
}

// checkVolume decides whether a persistent volume is that of the claim, and is used
// as what it is: getPVSpec and createVolumeSpec of the same package.
func checkVolume(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim, name string, use usage) error {
	if pv.Spec.ClaimRef == nil {
		return fmt.Errorf("found PV object %s but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim", pv.Name)
	}
	if pv.Spec.ClaimRef.UID != claim.UID {
		return fmt.Errorf("found PV object %s but its pv.Spec.ClaimRef.UID %s does not point to claim.UID %s", pv.Name, pv.Spec.ClaimRef.UID, claim.UID)
	}
	mode := volumeMode(pv)
	if use.mounted && mode != corev1.PersistentVolumeFilesystem {
		return fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeMounts", name, mode)
	}
	if use.device && mode != corev1.PersistentVolumeBlock {
		return fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeDevices", name, mode)
	}
	return nil
}

func volumeMode(pv *corev1.PersistentVolume) corev1.PersistentVolumeMode {
	if pv.Spec.VolumeMode != nil {
		return *pv.Spec.VolumeMode
	}
	return corev1.PersistentVolumeFilesystem
}

// checkNode decides whether a persistent volume can be used on a node with these
// labels.
func checkNode(pv *corev1.PersistentVolume, labels map[string]string) error {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return nil
	}
	selector, err := nodeaffinity.NewNodeSelector(pv.Spec.NodeAffinity.Required)
	if err != nil {
		return err
	}
	node := &corev1.Node{}
	node.Labels = labels
	if !selector.Match(node) {
		return errors.New("no matching NodeSelectorTerms")
	}
	return nil
}

// nodeLabels are the labels of this node.
func (m *Manager) nodeLabels(ctx context.Context) map[string]string {
	labels := maps.Clone(m.cfg.Labels)
	if m.cfg.OwnNode == nil {
		return labels
	}
	node, err := m.cfg.OwnNode(ctx)
	switch {
	case err == nil && labels == nil:
		return node.Labels
	case err == nil:
		maps.Copy(labels, node.Labels)
	case !missing(err) && ctx.Err() == nil:
		m.cfg.Logger.Warn("cannot read this node's Node; volumes are judged by the labels of this agent alone", "err", err)
	}
	return labels
}

// storageOf says what a persistent volume is on.
func storageOf(pv *corev1.PersistentVolume, readOnly bool) (storage, error) {
	s := storage{
		name: pv.Name, options: pv.Spec.MountOptions, readOnly: readOnly, block: volumeMode(pv) == corev1.PersistentVolumeBlock,
		exclusive: len(pv.Spec.AccessModes) == 1 && pv.Spec.AccessModes[0] == corev1.ReadWriteOncePod, gid: pv.Annotations[gidAnnotation],
	}
	switch src := &pv.Spec.PersistentVolumeSource; {
	case src.HostPath != nil:
		s.kind, s.hostPath = kindHostPath, src.HostPath
		if len(s.options) > 0 {
			return s, opError("MountVolume.MountOptionSupport check failed", errors.New("Mount options are not supported for this volume type")) // a kubelet's words
		}
	case src.Local != nil:
		s.kind, s.path = kindLocal, src.Local.Path
	case src.NFS != nil:
		s.kind, s.nfs = kindNFS, src.NFS
		s.readOnly = readOnly || src.NFS.ReadOnly
	case src.CSI != nil:
		var err error
		s.kind = kindCSI
		if s.csi, err = persistentCSI(pv); err != nil {
			return s, err
		}
	default:
		return s, errors.New("this kind of persistent volume is not supported on an edge node: use hostPath, local, nfs or csi")
	}
	if s.block && s.kind != kindLocal && s.kind != kindCSI {
		return s, fmt.Errorf("a persistent volume of kind %s cannot have volumeMode Block: use a local volume", s.kind)
	}
	return s, nil
}

// inlineStorage says what a volume of a pod that needs no claim is on; false for a
// volume whose content the agent makes.
func inlineStorage(pod *corev1.Pod, v *corev1.Volume) (storage, bool) {
	switch {
	case v.NFS != nil:
		return storage{kind: kindNFS, name: v.Name, nfs: v.NFS, readOnly: v.NFS.ReadOnly}, true
	case v.CSI != nil:
		return inlineCSI(pod, v), true
	}
	return storage{}, false
}
