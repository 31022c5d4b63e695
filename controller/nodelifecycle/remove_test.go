package nodelifecycle_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

func placed(name, node string, edit func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: node}}
	if edit != nil {
		edit(p)
	}
	return p
}

// TestRemove removes a connected node: first its identity, and the Node only when its
// session has ended, also when a late report registers it again.
func TestRemove(t *testing.T) {
	yes := true
	daemon := func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "d", UID: "d", Controller: &yes}}
	}
	shown := func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }
	done := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	for name, tt := range map[string]struct {
		pods  []*corev1.Pod
		force bool
		kept  []string // in the error
	}{
		"no pods":                {},
		"pods that drain leaves": {pods: []*corev1.Pod{placed("ds", "n", daemon), placed("static", "n", shown), placed("job", "n", done)}},
		"a pod of another node":  {pods: []*corev1.Pod{placed("else", "m", nil)}},
		"pods":                   {pods: []*corev1.Pod{placed("web", "n", nil), placed("ds", "n", daemon)}, kept: []string{"a/web"}},
		"pods, by force":         {pods: []*corev1.Pod{placed("web", "n", nil)}, force: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := controllertest.NewClientset(edgeNode("n"))
				for _, p := range tt.pods {
					if err := client.Tracker().Add(p); err != nil {
						t.Fatal(err)
					}
				}
				k := start(t, client, "cc-1")
				k.Connected(connected("n", 1))
				time.Sleep(time.Minute)
				shut := 0
				removed, err := nodelifecycle.Remove(t.Context(), nodelifecycle.RemoveConfig{Client: client, Node: "n", Force: tt.force, RevokeIdentity: func(context.Context) error {
					shut++
					k.Connected(disconnected("n", 1))
					go func() { // a report that was under way
						time.Sleep(nodelifecycle.Grace + 2*time.Second)
						_, _ = client.CoreV1().Nodes().Create(t.Context(), edgeNode("n"), metav1.CreateOptions{})
					}()
					return nil
				}})
				if pods, is := errors.AsType[*nodelifecycle.PodsError](err); is != (tt.kept != nil) || is && !slices.Equal(pods.Pods, tt.kept) {
					t.Fatalf("%v, want one about %v", err, tt.kept)
				}
				_, getErr := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
				if tt.kept != nil {
					if shut != 0 || getErr != nil {
						t.Errorf("it was shut out %d times; the Node: %v", shut, getErr)
					}
					return
				}
				if err != nil || shut != 1 || removed.Connected || !apierrors.IsNotFound(getErr) {
					t.Errorf("%+v, %v; it was shut out %d times; the Node: %v", removed, err, shut, getErr)
				}
				left, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for _, p := range left.Items {
					if p.Spec.NodeName == "n" {
						t.Errorf("pod %s is left", p.Name)
					}
				}
			})
		})
	}
}

// TestRemoveBadly calls Remove for nodes that it cannot or need not remove.
func TestRemoveBadly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lost := edgeNode("lost") // no cloudcore runs to say that it is gone
		lost.Status.Conditions = []corev1.NodeCondition{{Type: nodelifecycle.ConditionConnected, Status: corev1.ConditionTrue}}
		client := controllertest.NewClientset(lost, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "plain"}})
		refused := errors.New("no rights")
		remove := func(node string, shutOut error) (nodelifecycle.Removed, error) {
			return nodelifecycle.Remove(t.Context(), nodelifecycle.RemoveConfig{Client: client, Node: node, RevokeIdentity: func(context.Context) error { return shutOut }})
		}
		if _, err := remove("plain", nil); !errors.Is(err, nodelifecycle.ErrNotEdge) {
			t.Errorf("not an edge node: %v", err)
		}
		if _, err := remove("lost", refused); !errors.Is(err, refused) {
			t.Errorf("an identity that cannot be revoked: %v", err)
		}
		if _, err := client.CoreV1().Nodes().Get(t.Context(), "lost", metav1.GetOptions{}); err != nil {
			t.Errorf("it was deleted, and would register again: %v", err)
		}
		for _, want := range []bool{true, false} { // the second time it is gone already
			if done, err := remove("lost", nil); err != nil || done.Connected != want {
				t.Errorf("%+v, %v", done, err)
			}
		}
		if _, err := nodelifecycle.Remove(t.Context(), nodelifecycle.RemoveConfig{}); err == nil {
			t.Error("an empty configuration was taken")
		}
	})
}
