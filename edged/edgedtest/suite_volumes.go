package edgedtest

import (
	"cmp"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged"
)

// VolumeCloud is what stands above an implementation of edged.VolumeReader. An API is
// one.
type VolumeCloud interface {
	PutPod(pod *corev1.Pod)
	PutPersistentVolumeClaim(claim *corev1.PersistentVolumeClaim)
	RemovePersistentVolumeClaim(namespace, name string)
	PutPersistentVolume(pv *corev1.PersistentVolume)
}

// RunVolumeReader holds an implementation of edged.VolumeReader to its contract. open
// makes one that has nothing yet, and what stands above it.
func RunVolumeReader(t *testing.T, open func(t *testing.T) (interface {
	edged.Objects
	edged.VolumeReader
}, VolumeCloud)) {
	t.Run("claims and volumes", func(t *testing.T) {
		objects, cloud := open(t)
		ctx := t.Context()
		changed := objects.Changed(ctx)
		pod := newPod("db")
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-db"}}}}
		cloud.PutPod(pod)
		claim := &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data-db", UID: "claim-uid"},
			Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"},
			Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
		}
		cloud.PutPersistentVolumeClaim(claim)
		cloud.PutPersistentVolume(&corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/srv/disk"}},
		}})
		got, err := eventually(t, func() (*corev1.PersistentVolumeClaim, error) {
			return objects.PersistentVolumeClaim(ctx, "default", "data-db")
		})
		if err != nil || got.Spec.VolumeName != "pv-1" || got.UID != claim.UID || got.Status.Phase != corev1.ClaimBound {
			t.Errorf("PersistentVolumeClaim: %+v, %v", got, err)
		}
		pv, err := eventually(t, func() (*corev1.PersistentVolume, error) { return objects.PersistentVolume(ctx, "pv-1") })
		if err != nil || pv.Spec.Local == nil || pv.Spec.Local.Path != "/srv/disk" {
			t.Errorf("PersistentVolume: %+v, %v", pv, err)
		}
		if _, ok := <-changed; !ok {
			t.Error("the channel was closed before its context ended")
		}
		cloud.RemovePersistentVolumeClaim("default", "data-db")
		_, err = eventually(t, func() (struct{}, error) {
			if got, err := objects.PersistentVolumeClaim(ctx, "default", "data-db"); !isNotFound(err) {
				return struct{}{}, fmt.Errorf("%+v, %w", got, cmp.Or(err, errors.New("no error")))
			}
			return struct{}{}, nil
		})
		if err != nil {
			t.Errorf("PersistentVolumeClaim after it was removed: %v; want an error with NotFound", err)
		}
	})
}

// AttachmentCloud is what stands above an implementation of edged.VolumeAttachmentReader.
// An API is one.
type AttachmentCloud interface {
	PutNode(node *corev1.Node)
	PutVolumeAttachment(attachment *storagev1.VolumeAttachment)
}

// RunVolumeAttachmentReader holds an implementation of edged.VolumeAttachmentReader to
// its contract. open makes one that has nothing yet, and what stands above it.
func RunVolumeAttachmentReader(t *testing.T, open func(t *testing.T) (interface {
	edged.Objects
	edged.VolumeAttachmentReader
}, AttachmentCloud)) {
	objects, cloud := open(t)
	ctx := t.Context()
	changed := objects.Changed(ctx)
	await := func(what string) {
		t.Helper()
		if _, ok := <-changed; !ok {
			t.Fatalf("%s: the channel was closed before its context ended", what)
		}
	}
	const volume, name = "kubernetes.io/csi/d.example.com^vol-1", "csi-1"
	node := &corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: NodeName}}
	node.Status.VolumesInUse = []corev1.UniqueVolumeName{volume}
	node.Status.VolumesAttached = []corev1.AttachedVolume{{Name: volume}}
	cloud.PutNode(node)
	await("the Node")
	got, err := eventually(t, func() (*corev1.Node, error) { return objects.OwnNode(ctx) })
	if err != nil || len(got.Status.VolumesInUse) != 1 || len(got.Status.VolumesAttached) != 1 || got.Status.VolumesAttached[0].Name != volume {
		t.Errorf("OwnNode: %+v, %v; want its volumes", got, err)
	}
	cloud.PutVolumeAttachment(&storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Status: storagev1.VolumeAttachmentStatus{Attached: true, AttachmentMetadata: map[string]string{"device": "/dev/x"}},
	})
	await("the attachment")
	attachment, err := eventually(t, func() (*storagev1.VolumeAttachment, error) { return objects.VolumeAttachment(ctx, name) })
	if err != nil || !attachment.Status.Attached || attachment.Status.AttachmentMetadata["device"] != "/dev/x" {
		t.Errorf("VolumeAttachment: %+v, %v", attachment, err)
	}
}
