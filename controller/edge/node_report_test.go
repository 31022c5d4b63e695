package edge_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

func labelled(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{nodelifecycle.RoleLabel: ""}}}
}

func hasRole(n *corev1.Node) bool {
	_, has := n.Labels[nodelifecycle.RoleLabel]
	return has
}

// TestNodeDeleted: the Node of a connected node is deleted. The node learns of it, and
// its next report registers the Node again.
func TestNodeDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(labelled("n"))
		c := start(t, client)
		src := c.Source("n")
		var p peer
		defer src.Subscribe(p.note)()
		synctest.Wait()
		p.take()
		if err := client.CoreV1().Nodes().Delete(t.Context(), "n", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		key := hub.Key{Resource: "nodes", Name: "n"}
		if got := p.take(); len(got) != 1 || got[0] != key.String() {
			t.Fatalf("told of %q", got)
		}
		if obj, err := src.Load(t.Context(), key, "101"); err != nil || !obj.Deleted {
			t.Fatalf("%+v, %v", obj, err)
		}
		report := &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{
				Name: "n", Labels: map[string]string{"site": "berlin", "kubernetes.io/hostname": "n", "node-restriction.kubernetes.io/x": "y"},
				Annotations: map[string]string{"owner": "lab", nodelifecycle.Domain + "autonomy": "off"},
			},
			Spec: corev1.NodeSpec{Taints: []corev1.Taint{{Key: "edge", Effect: corev1.TaintEffectNoSchedule}}},
		}
		for range 2 { // the second time changes nothing
			if err := c.Writers()["nodes"](t.Context(), "n", hub.Object{Key: key, Body: body(t, report)}); err != nil {
				t.Fatal(err)
			}
			got, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			_, role := got.Labels[nodelifecycle.RoleLabel]
			_, restricted := got.Labels["node-restriction.kubernetes.io/x"]
			_, autonomy := got.Annotations[nodelifecycle.Domain+"autonomy"]
			if !role || restricted || autonomy || got.Labels["site"] != "berlin" || got.Annotations["owner"] != "lab" || len(got.Spec.Taints) != 1 {
				t.Errorf("registered as %+v with taints %v", got.ObjectMeta, got.Spec.Taints)
			}
		}
	})
}

// TestNeverRegisters: a connected node has no Node. cloudcore logs that once for a node
// that does not register, and for no other.
func TestNeverRegisters(t *testing.T) {
	for name, registers := range map[string]bool{"an old one": false, "a new one": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := controllertest.NewClientset()
				var text bytes.Buffer
				c := startWith(t, client, slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelWarn})))
				defer c.Source("n").Subscribe(func(hub.Key) {})()
				time.Sleep(time.Second)
				if registers {
					report := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
					if err := c.Writers()["nodes"](t.Context(), "n", hub.Object{Key: hub.Key{Resource: "nodes", Name: "n"}, Body: body(t, report)}); err != nil {
						t.Fatal(err)
					}
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if said := strings.Count(text.String(), "does not register"); (said == 0) != registers || said > 1 {
					t.Errorf("said %d times: %s", said, text.String())
				}
			})
		})
	}
}

// TestRoleRemoved: somebody removes the role label from a connected node, and from one
// that is offline.
func TestRoleRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(labelled("n"), labelled("away"))
		c := start(t, client)
		stop := c.Source("n").Subscribe(func(hub.Key) {})
		for name, want := range map[string]bool{"n": true, "away": false} {
			patch := []byte(`{"metadata":{"labels":{"` + nodelifecycle.RoleLabel + `":null}}}`)
			if _, err := client.CoreV1().Nodes().Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second)
			synctest.Wait()
			got, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if hasRole(got) != want {
				t.Errorf("%s has its role: %t, want %t", name, !want, want)
			}
		}
		// One that lost it while it had no session, or while no cloudcore ran.
		defer c.Source("away").Subscribe(func(hub.Key) {})()
		synctest.Wait()
		if got, err := client.CoreV1().Nodes().Get(t.Context(), "away", metav1.GetOptions{}); err != nil || !hasRole(got) {
			t.Errorf("away has come back without its role: %v", err)
		}
		stop()
		if err := client.CoreV1().Nodes().Delete(t.Context(), "n", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if _, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("a node that left is back: %v", err)
		}
	})
}
