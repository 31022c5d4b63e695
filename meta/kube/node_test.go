package kube_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta"
)

// TestOwnNode reads the Node that the cloud sent, without asking the cloud.
func TestOwnNode(t *testing.T) {
	s := start(t)
	defer s.stop()
	s.m.answer = func(meta.Object) (meta.Object, error) { return meta.Object{}, errors.New("the cloud was asked") }
	var missing interface{ NotFound() bool }
	if _, err := s.OwnNode(t.Context()); !errors.As(err, &missing) || !missing.NotFound() {
		t.Errorf("before it was sent: %v", err)
	}
	s.put(t, "nodes", "", "gate-7", &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "gate-7", Labels: map[string]string{"gpu": "yes"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}}},
	})
	if n, err := s.OwnNode(t.Context()); err != nil || n.Labels["gpu"] != "yes" || len(n.Spec.Taints) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
}

// TestAttachedVolumes: a Node that says of other volumes that they are attached or in
// use, an attachment, and a runtime class are changes of what pods refer to.
func TestAttachedVolumes(t *testing.T) {
	s := start(t)
	defer s.stop()
	changed := s.Changed(t.Context())
	<-changed // at the start
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "gate-7"}}
	node.Status.VolumesAttached = []corev1.AttachedVolume{{Name: "v"}}
	s.put(t, "nodes", "", "gate-7", node)
	<-changed
	node.Status.VolumesInUse = []corev1.UniqueVolumeName{"v"}
	s.put(t, "nodes", "", "gate-7", node)
	<-changed
	s.put(t, "volumeattachments", "", "csi-1", &storagev1.VolumeAttachment{Status: storagev1.VolumeAttachmentStatus{Attached: true}})
	<-changed
	if a, err := s.VolumeAttachment(t.Context(), "csi-1"); err != nil || !a.Status.Attached {
		t.Errorf("VolumeAttachment: %+v, %v", a, err)
	}
	s.put(t, "runtimeclasses", "", "second", &nodev1.RuntimeClass{Handler: "runc2"})
	<-changed
	if handler, err := s.RuntimeHandler(t.Context(), "second"); err != nil || handler != "runc2" {
		t.Errorf("RuntimeHandler: %q, %v", handler, err)
	}
	if n, err := s.OwnNode(t.Context()); err != nil || len(n.Status.VolumesAttached) != 1 || len(n.Status.VolumesInUse) != 1 {
		t.Errorf("%+v, %v", n, err)
	}
}
