package edgedtest

import (
	"cmp"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
