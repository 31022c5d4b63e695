package edgedtest

import (
	"cmp"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged"
)

// ClassCloud is what stands above an implementation of edged.RuntimeClassReader. An API is
// one.
type ClassCloud interface {
	PutPod(pod *corev1.Pod)
	PutRuntimeClass(class *nodev1.RuntimeClass)
	RemoveRuntimeClass(name string)
}

// RunRuntimeClassReader holds an implementation of edged.RuntimeClassReader to its
// contract. open makes one that has nothing yet, and what stands above it.
func RunRuntimeClassReader(t *testing.T, open func(t *testing.T) (interface {
	edged.Objects
	edged.RuntimeClassReader
}, ClassCloud)) {
	objects, cloud := open(t)
	ctx := t.Context()
	changed := objects.Changed(ctx)
	pod := newPod("web")
	pod.Spec.RuntimeClassName = new("second")
	cloud.PutPod(pod)
	cloud.PutRuntimeClass(&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "second"}, Handler: "runc2"})
	if _, ok := <-changed; !ok {
		t.Fatal("the channel was closed before its context ended")
	}
	if handler, err := eventually(t, func() (string, error) { return objects.RuntimeHandler(ctx, "second") }); err != nil || handler != "runc2" {
		t.Errorf("RuntimeHandler: %q, %v", handler, err)
	}
	cloud.RemoveRuntimeClass("second")
	_, err := eventually(t, func() (string, error) {
		if handler, err := objects.RuntimeHandler(ctx, "second"); !isNotFound(err) {
			return "", fmt.Errorf("%q, %w", handler, cmp.Or(err, errors.New("no error")))
		}
		return "", nil
	})
	if err != nil {
		t.Errorf("RuntimeHandler of a class that does not exist: %v, want an error with NotFound", err)
	}
}
