package volume_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/volume"
)

// unattached is a cloud whose attacher does nothing, and a node with its driver.
type unattached struct {
	volume.Source
	volume.CSINode
}

func (unattached) PersistentVolumeClaim(context.Context, string, string) (*corev1.PersistentVolumeClaim, error) {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{UID: "claim"}, Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "pv-1"},
		Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}, nil
}

func (unattached) PersistentVolume(context.Context, string) (*corev1.PersistentVolume, error) {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-1"}, Spec: corev1.PersistentVolumeSpec{
		ClaimRef:               &corev1.ObjectReference{UID: "claim"},
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "d.example.com", VolumeHandle: "vol-1"}},
	}}, nil
}

func (u unattached) Driver(string) (volume.CSINode, bool) { return u, true }

func (unattached) Capabilities(context.Context) (volume.CSICapabilities, error) {
	return volume.CSICapabilities{}, nil
}

func (unattached) OwnNode(context.Context) (*corev1.Node, error) { return &corev1.Node{}, nil }

func (unattached) VolumeAttachment(context.Context, string) (*storagev1.VolumeAttachment, error) {
	return &storagev1.VolumeAttachment{}, nil
}

// TestWaitForAttachment: a wait becomes worth an event when it lasts.
func TestWaitForAttachment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := unattached{}
		v, err := volume.New(volume.Config{Root: t.TempDir(), Source: u, Claims: u, CSI: u, Node: "n", Attachments: u})
		if err != nil {
			t.Fatal(err)
		}
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "u"}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{{Name: "v"}}}},
			Volumes:    []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
		}}
		for _, want := range []string{"", "", "FailedAttachVolume", "FailedAttachVolume"} {
			_, err := v.SetUp(t.Context(), p, nil)
			var failed *volume.Error
			if !errors.As(err, &failed) || failed.Reason() != want {
				t.Errorf("%v, want the reason %q", err, want)
			}
			time.Sleep(6 * time.Second)
		}
	})
}
