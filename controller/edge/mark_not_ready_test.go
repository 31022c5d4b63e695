package edge_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/hub"
)

func withReady(p *corev1.Pod, ready corev1.ConditionStatus) *corev1.Pod {
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodReady, Status: ready}, {Type: corev1.ContainersReady, Status: ready},
		{Type: "example.org/gate", Status: corev1.ConditionTrue},
	}
	return p
}

// TestMarkNotReady: only pods of the node that are ready are changed, and of these only the
// condition Ready. What the node has to send again is just that.
func TestMarkNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := withReady(pod("ended", "n"), corev1.ConditionTrue)
		ended.Status.Phase = corev1.PodFailed
		client := controllertest.NewClientset(withReady(pod("web", "n"), corev1.ConditionTrue), withReady(pod("daemon", "n"), corev1.ConditionTrue),
			withReady(pod("broken", "n"), corev1.ConditionFalse), pod("created-while-away", "n"), ended, withReady(pod("else", "m"), corev1.ConditionTrue))
		c := start(t, client)
		since := time.Now().Add(-time.Minute)
		for _, want := range []int{2, 0} { // the second time changes nothing
			if got, err := c.MarkNotReady(t.Context(), "n", since); got != want || err != nil {
				t.Errorf("marked %d, %v, want %d", got, err, want)
			}
			synctest.Wait()
		}
		for name, want := range map[string]string{
			"web": "False NodeDisconnected True True", "daemon": "False NodeDisconnected True True", "broken": "False  False True",
			"ended": "True  True True", "else": "True  True True", "created-while-away": "",
		} {
			p, err := client.CoreV1().Pods("a").Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			text := ""
			if c := p.Status.Conditions; len(c) == 3 {
				text = fmt.Sprintf("%s %s %s %s", c[0].Status, c[0].Reason, c[1].Status, c[2].Status)
			}
			if text != want {
				t.Errorf("pod %s has %q, want %q", name, text, want)
			}
		}
		var names []string
		for _, key := range c.ResendReadiness("n") {
			names = append(names, key.String())
		}
		if slices.Sort(names); !slices.Equal(names, []string{"pods/status/a/daemon", "pods/status/a/web"}) {
			t.Errorf("to be sent again: %q", names)
		}
		// The node has no such report (it was set up anew): nothing is written.
		if err := c.Writers()["pods/status"](t.Context(), "n", hub.Object{Key: hub.Key{Resource: "pods/status", Namespace: "a", Name: "web"}, Deleted: true}); err != nil {
			t.Errorf("a report that the node does not have: %v", err)
		}
	})
}

// TestMarkNotReadyRate: ten thousand pods of a hundred nodes are written at a limited rate, and
// none of a node that is back.
func TestMarkNotReadyRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const nodes, each = 100, 100
		var objects []runtime.Object
		for n := range nodes {
			for p := range each {
				objects = append(objects, withReady(pod(fmt.Sprintf("p-%d-%d", n, p), fmt.Sprintf("n-%d", n)), corev1.ConditionTrue))
			}
		}
		client := controllertest.NewClientset(objects...)
		writes := 0
		client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
			writes++ // one at a time: the fake holds a lock
			return true, &corev1.Pod{}, nil
		})
		c := start(t, client)
		back, cancel := context.WithCancel(t.Context())
		cancel()
		if got, err := c.MarkNotReady(back, "n-0", time.Now()); got != 0 || err == nil {
			t.Errorf("marked %d pods of a node that is back, %v", got, err)
		}
		began := time.Now()
		done := make(chan error, nodes)
		for n := range nodes {
			go func() {
				_, err := c.MarkNotReady(t.Context(), fmt.Sprintf("n-%d", n), began)
				done <- err
			}()
		}
		for range nodes {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(began); writes != nodes*each || took < 99*time.Second || took > 101*time.Second {
			t.Errorf("%d writes in %s", writes, took)
		}
	})
}

// TestMarkNotReadyErrors: a pod that has gone or changed meanwhile is left; another error of the
// API server ends the attempt.
func TestMarkNotReadyErrors(t *testing.T) {
	pods := schema.GroupResource{Resource: "pods"}
	for name, tc := range map[string]struct {
		answer error
		fails  bool
	}{
		"gone":     {apierrors.NewNotFound(pods, "web"), false},
		"changed":  {apierrors.NewConflict(pods, "web", errors.New("old version")), false},
		"overload": {apierrors.NewTooManyRequests("x", 1), true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := controllertest.NewClientset(withReady(pod("web", "n"), corev1.ConditionTrue))
				client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, tc.answer })
				if got, err := start(t, client).MarkNotReady(t.Context(), "n", time.Now()); got != 0 || (err != nil) != tc.fails {
					t.Errorf("marked %d, %v", got, err)
				}
			})
		})
	}
}

// TestConditionCleared: a condition that the node reports without a reason has none, whatever
// was there.
func TestConditionCleared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		have := withReady(pod("web", "n"), corev1.ConditionFalse)
		have.Status.Conditions[0].Reason, have.Status.Conditions[0].Message = edge.ReasonNodeDisconnected, "m"
		client := controllertest.NewClientset(have)
		c := start(t, client)
		report := withReady(pod("web", "n"), corev1.ConditionTrue)
		err := c.Writers()["pods/status"](t.Context(), "n", hub.Object{Key: hub.Key{Resource: "pods/status", Namespace: "a", Name: "web"}, Body: body(t, report)})
		if err != nil {
			t.Fatal(err)
		}
		got, err := client.CoreV1().Pods("a").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if c := got.Status.Conditions[0]; c.Type != corev1.PodReady || c.Status != corev1.ConditionTrue || c.Reason != "" || c.Message != "" {
			t.Errorf("condition %+v", c)
		}
	})
}
