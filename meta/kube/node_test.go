package kube_test

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
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
