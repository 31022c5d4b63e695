package edge_test

import (
	"testing"
	"testing/synctest"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta"
)

// TestLoadOfWhatDoesNotExist: the node learns that an object which its pod refers to does
// not exist. An object that the node merely does not need is not reported as absent.
func TestLoadOfWhatDoesNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(pod("web", "n"))
		c := start(t, client)
		src := c.Source("n")
		defer src.Subscribe(func(hub.Key) {})()
		load := func(when string, key hub.Key, deleted, absent bool) {
			t.Helper()
			synctest.Wait()
			obj, err := src.Load(t.Context(), key, "")
			if err != nil || obj.Deleted != deleted || meta.SaysNotFound(obj.Body) != absent {
				t.Errorf("%s: loaded %+v, %v", when, obj, err)
			}
		}
		load("referred to, and not there", secretKey, true, true)
		load("nobody refers to it", hub.Key{Resource: "secrets", Namespace: "a", Name: "other"}, true, false)
		if _, err := client.CoreV1().Secrets("a").Create(t.Context(), secret("pull", "1"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		load("made", secretKey, false, false)
		if err := client.CoreV1().Secrets("a").Delete(t.Context(), "pull", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		load("deleted", secretKey, true, true)
		if err := client.CoreV1().Pods("a").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		load("the pod is gone", secretKey, true, false)
		load("the pod itself", podKey, true, false)
	})
}
