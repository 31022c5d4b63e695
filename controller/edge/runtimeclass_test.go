package edge_test

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// TestRuntimeClassesAreFollowed: the runtime class of a pod is sent to its node, also one
// that is made later, again when it changes, and is removed with the last pod that names it.
// No other class is sent.
func TestRuntimeClassesAreFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "web"}, Spec: corev1.PodSpec{NodeName: "n", RuntimeClassName: new("second")}}
		class := func(name, handler string) *nodev1.RuntimeClass {
			return &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}, Handler: handler}
		}
		client := controllertest.NewClientset(pod, class("other", "kata"))
		src := start(t, client).Source("n")
		p := &peer{}
		defer src.Subscribe(p.note)()
		expect := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := slices.Sorted(maps.Keys(listed(t, src))); !slices.Equal(got, want) {
				t.Errorf("%s: the node holds %q, want %q", when, got, want)
			}
		}
		key := hub.Key{Resource: "runtimeclasses", Name: "second"}
		expect("not made yet", "pods/a/web")
		if obj, err := src.Load(t.Context(), key, ""); err != nil || !obj.Deleted || !meta.SaysNotFound(obj.Body) {
			t.Errorf("load of one that does not exist: %+v, %v", obj, err)
		}
		classes := client.NodeV1().RuntimeClasses()
		made, err := classes.Create(t.Context(), class("second", "runc2"), metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		expect("made", "pods/a/web", "runtimeclasses//second")
		p.take()
		made.Handler = "runc3"
		if _, err := classes.Update(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := p.take(); !slices.Contains(got, "runtimeclasses//second") {
			t.Errorf("the node was notified of %q", got)
		}
		if obj, err := src.Load(t.Context(), key, ""); err != nil || obj.Deleted || len(obj.Body) == 0 {
			t.Errorf("load: %+v, %v", obj, err)
		}
		if err := client.CoreV1().Pods("a").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect("no pod")
	})
}
