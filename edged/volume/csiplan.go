package volume

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// csiVolume is a volume of a CSI driver.
type csiVolume struct {
	driver, handle       string
	attributes           map[string]string
	fsType               string
	stage, publish, grow *corev1.SecretReference
	accessMode           corev1.PersistentVolumeAccessMode
	accessModes          []corev1.PersistentVolumeAccessMode
	ephemeral            bool                          // inline in a pod
	size, claimed        int64                         // in bytes: of the volume, and in the status of the claim
	claim                *corev1.PersistentVolumeClaim // as it was last read
}

// csiStep is what is done next with a volume of a driver.
type csiStep int

const (
	csiNothing csiStep = iota
	csiStage
	csiPublish
	csiUnpublish
	csiUnstage
)

// csiState is what was done with a volume for one pod.
type csiState struct {
	staged    bool // or it may have been
	published bool // or it may have been
	shared    bool // another pod has it, or is about to
}

// nextCSI decides what is done next so that a pod has a volume, or has it no more.
// Each step is safe to repeat, so that a state that is not known for sure counts as
// done on the way back.
func nextCSI(wanted, canStage bool, s csiState) csiStep {
	switch {
	case wanted && canStage && !s.staged:
		return csiStage
	case wanted && !s.published:
		return csiPublish
	case wanted:
		return csiNothing
	case s.published:
		return csiUnpublish
	case s.staged && !s.shared:
		return csiUnstage
	}
	return csiNothing
}

// checkCSIDriver decides whether a driver's volume can be used on this node. info is
// what the driver says of itself, with a kubelet's defaults where it says nothing.
func checkCSIDriver(info *storagev1.CSIDriverSpec, v *csiVolume) error {
	mode := storagev1.VolumeLifecyclePersistent
	if v.ephemeral {
		mode = storagev1.VolumeLifecycleEphemeral
	}
	if !slices.Contains(info.VolumeLifecycleModes, mode) {
		return opError("MountVolume.SetUp failed", fmt.Errorf("volume mode %q not supported by driver %s (only supports %q)", mode, v.driver, info.VolumeLifecycleModes))
	}
	return nil
}

// driverDefaults fills in what a CSIDriver does not say:
// https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/csi-driver-v1/
func driverDefaults(d *storagev1.CSIDriver) *storagev1.CSIDriverSpec {
	var s storagev1.CSIDriverSpec
	if d != nil {
		s = *d.Spec.DeepCopy()
	}
	if s.AttachRequired == nil {
		s.AttachRequired = new(true)
	}
	if len(s.VolumeLifecycleModes) == 0 {
		s.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	if s.FSGroupPolicy == nil {
		s.FSGroupPolicy = new(storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	return &s
}

// agentSetsGroup decides whether the agent gives a driver's volume to fsGroup: see
// supportsFSGroup in pkg/volume/csi. What is read-only is never changed.
func agentSetsGroup(policy storagev1.FSGroupPolicy, v *csiVolume, readOnly bool) bool {
	if readOnly {
		return false
	}
	switch policy {
	case storagev1.FileFSGroupPolicy:
		return true
	case storagev1.NoneFSGroupPolicy:
		return false
	}
	once := slices.Contains(v.accessModes, corev1.ReadWriteOnce) || slices.Contains(v.accessModes, corev1.ReadWriteOncePod)
	return v.fsType != "" && once
}

// podInfo is what a driver with podInfoOnMount gets about the pod.
func podInfo(pod *corev1.Pod, ephemeral bool) map[string]string {
	return map[string]string{
		"csi.storage.k8s.io/pod.name": pod.Name, "csi.storage.k8s.io/pod.namespace": pod.Namespace, "csi.storage.k8s.io/pod.uid": string(pod.UID),
		"csi.storage.k8s.io/serviceAccount.name": pod.Spec.ServiceAccountName, "csi.storage.k8s.io/ephemeral": fmt.Sprint(ephemeral),
	}
}

// inlineHandle is the name of a pod's inline volume for its driver. It is a kubelet's,
// so that a node that changes its agent keeps the volume: makeVolumeHandle of pkg/volume/csi.
func inlineHandle(pod *corev1.Pod, volume string) string {
	sum := sha256.Sum256([]byte(string(pod.UID) + volume))
	return "csi-" + hex.EncodeToString(sum[:])
}

// inlineCSI is an inline volume of a driver.
func inlineCSI(pod *corev1.Pod, v *corev1.Volume) storage {
	src := v.CSI
	c := &csiVolume{driver: src.Driver, handle: inlineHandle(pod, v.Name), attributes: src.VolumeAttributes, accessMode: corev1.ReadWriteOnce, ephemeral: true}
	if src.FSType != nil {
		c.fsType = *src.FSType
	}
	if src.NodePublishSecretRef != nil {
		c.publish = &corev1.SecretReference{Namespace: pod.Namespace, Name: src.NodePublishSecretRef.Name}
	}
	return storage{kind: kindCSI, name: v.Name, csi: c, readOnly: src.ReadOnly != nil && *src.ReadOnly}
}

// persistentCSI is a persistent volume of a driver.
func persistentCSI(pv *corev1.PersistentVolume) (*csiVolume, error) {
	src := pv.Spec.CSI
	c := &csiVolume{
		driver: src.Driver, handle: src.VolumeHandle, attributes: src.VolumeAttributes, fsType: src.FSType,
		stage: src.NodeStageSecretRef, publish: src.NodePublishSecretRef, grow: src.NodeExpandSecretRef,
		accessMode: corev1.ReadWriteOnce, accessModes: pv.Spec.AccessModes, size: pv.Spec.Capacity.Storage().Value(),
	}
	if c.driver == "" || c.handle == "" {
		return nil, errors.New("the volume's csi.driver and csi.volumeHandle must be set")
	}
	if len(c.accessModes) > 0 {
		c.accessMode = c.accessModes[0]
	}
	return c, nil
}
