package nodelifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

func edgeNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, UID: "u-1", ResourceVersion: "1", Labels: map[string]string{nodelifecycle.RoleLabel: ""},
	}}
}

// start runs a keeper until the test's end.
func start(t *testing.T, client kubernetes.Interface, id string) *nodelifecycle.Controller {
	t.Helper()
	return startWith(t, client, id, nil)
}

func startWith(t *testing.T, client kubernetes.Interface, id string, superseded func(string, hub.Claim)) *nodelifecycle.Controller {
	t.Helper()
	k, _ := startUntil(t, client, id, superseded)
	return k
}

// startUntil returns what ends the keeper before the test does.
func startUntil(t *testing.T, client kubernetes.Interface, id string, superseded func(string, hub.Claim)) (*nodelifecycle.Controller, func()) {
	t.Helper()
	nodes, err := edge.NewNodeStore(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := nodelifecycle.New(nodelifecycle.Config{Cloud: client, NodeClient: client, Nodes: nodes, ID: id})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- nodes.Run(ctx) }()
	go func() { done <- k.Run(ctx, superseded) }()
	end := sync.OnceFunc(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	t.Cleanup(end)
	synctest.Wait()
	return k, end
}

func connected(node string, epoch uint64) hub.Info {
	return hub.Info{Node: node, Connected: true, Since: time.Now(), Epoch: epoch, Transport: "mem"}
}

func disconnected(node string, epoch uint64) hub.Info {
	return hub.Info{Node: node, Since: time.Now(), Epoch: epoch, Reason: "link cut"}
}

// state reads what the API server says of the node's link.
func state(t *testing.T, client kubernetes.Interface, name string) string {
	t.Helper()
	synctest.Wait()
	node, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	text := "none"
	for _, c := range node.Status.Conditions {
		if c.Type == nodelifecycle.ConditionConnected {
			text = string(c.Status) + " " + c.Reason
		}
	}
	for _, taint := range node.Spec.Taints {
		text += " " + taint.Key + ":" + string(taint.Effect)
	}
	return text
}

func lease(t *testing.T, client kubernetes.Interface, name string) *coordinationv1.Lease {
	t.Helper()
	l, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return l
}

func TestLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(edgeNode("n"))
		k := start(t, client, "cc-1")
		time.Sleep(30 * time.Second)
		if got := state(t, client, "n"); got != "none" || lease(t, client, "n") != nil {
			t.Errorf("a node that was never seen: %s", got)
		}
		k.Connected(connected("n", 1))
		if got := state(t, client, "n"); got != "True Connected" {
			t.Errorf("after connect: %s", got)
		}
		l := lease(t, client, "n")
		if l == nil || *l.Spec.HolderIdentity != "n" || *l.Spec.LeaseDurationSeconds != 40 ||
			l.Annotations[nodelifecycle.HolderAnnotation] != "cc-1" || l.OwnerReferences[0].UID != "u-1" {
			t.Fatalf("lease %+v", l)
		}
		for range 10 {
			time.Sleep(nodelifecycle.RenewEvery)
			synctest.Wait()
			if age := time.Since(lease(t, client, "n").Spec.RenewTime.Time); age > nodelifecycle.RenewEvery+time.Second {
				t.Errorf("lease is %s old", age)
			}
		}
		// A session that is replaced says nothing.
		k.Connected(connected("n", 2))
		k.Connected(disconnected("n", 1))
		time.Sleep(nodelifecycle.Grace + time.Second)
		if got := state(t, client, "n"); got != "True Connected" {
			t.Errorf("after the end of an old session: %s", got)
		}
		// A short cut changes no Node, a long one does.
		k.Connected(disconnected("n", 2))
		time.Sleep(nodelifecycle.Grace / 2)
		if got := state(t, client, "n"); got != "True Connected" {
			t.Errorf("within the grace: %s", got)
		}
		time.Sleep(nodelifecycle.Grace)
		if got := state(t, client, "n"); got != "False Disconnected edgekit.io/disconnected:NoSchedule" {
			t.Errorf("after the grace: %s", got)
		}
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if age := time.Since(lease(t, client, "n").Spec.RenewTime.Time); age > nodelifecycle.RenewEvery+time.Second {
			t.Errorf("ten minutes later the lease is %s old", age)
		}
		k.Connected(connected("n", 3))
		if got := state(t, client, "n"); got != "True Connected" {
			t.Errorf("after its return: %s", got)
		}
	})
}

func TestAutonomyEnds(t *testing.T) {
	for policy, want := range map[string]struct {
		kept  time.Duration
		state string
	}{
		nodelifecycle.AutonomyOff:     {0, "False AutonomyEnded"},
		"10m":                         {10 * time.Minute, "False AutonomyEnded"},
		nodelifecycle.AutonomyForever: {20 * time.Minute, "False Disconnected"},
		"nonsense":                    {20 * time.Minute, "False Disconnected"},
	} {
		t.Run(policy, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				node := edgeNode("n")
				node.Labels[nodelifecycle.AutonomyLabel] = policy
				node.Annotations = map[string]string{"edgekit.io/autonomy": "1s", nodelifecycle.AutonomyLabel: "1s"} // a node may write these
				client := controllertest.NewClientset(node)
				k := start(t, client, "cc-1")
				k.Connected(connected("n", 1))
				synctest.Wait()
				k.Connected(disconnected("n", 1))
				gone := time.Now()
				time.Sleep(20 * time.Minute)
				synctest.Wait()
				kept := lease(t, client, "n").Spec.RenewTime.Sub(gone)
				if kept > want.kept+time.Second || kept < want.kept-nodelifecycle.RenewEvery-time.Second {
					t.Errorf("lease was kept for %s, want %s", kept, want.kept)
				}
				if got := state(t, client, "n"); got != want.state+" edgekit.io/disconnected:NoSchedule" {
					t.Errorf("the node says %s, want %s", got, want.state)
				}
				if c := condition(t, client, "n", nodelifecycle.ConditionConnected); !strings.Contains(c.Message, "link cut") ||
					strings.Contains(c.Message, "nonsense") != (policy == "nonsense") {
					t.Errorf("message %q", c.Message)
				}
				k.Connected(connected("n", 2))
				if got := state(t, client, "n"); got != "True Connected" {
					t.Errorf("after its return: %s", got)
				}
			})
		})
	}
}

// TestAutonomyOfReturned: a node was cut off from one cloudcore, came back at another, and is cut
// off again when that one ends. Its autonomy begins with the second cut.
func TestAutonomyOfReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := edgeNode("n")
		node.Labels[nodelifecycle.AutonomyLabel] = "10m"
		client := controllertest.NewClientset(node)
		first := start(t, client, "cc-1")
		first.Connected(connected("n", 1))
		time.Sleep(time.Minute)
		first.Connected(disconnected("n", 1))
		time.Sleep(2 * time.Minute)
		second, end := startUntil(t, client, "cc-2", nil)
		second.Connected(connected("n", 2))
		time.Sleep(20 * time.Minute)
		end()
		lost := time.Now()
		for passed := time.Minute; passed < 10*time.Minute; passed += time.Minute {
			time.Sleep(time.Minute)
			synctest.Wait()
			if age := time.Since(lease(t, client, "n").Spec.RenewTime.Time); age > nodelifecycle.RenewEvery+time.Second {
				t.Fatalf("after %s the lease is %s old", passed, age)
			}
		}
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if kept := lease(t, client, "n").Spec.RenewTime.Sub(lost); kept > 11*time.Minute {
			t.Errorf("it was kept for %s", kept)
		}
	})
}

func condition(t *testing.T, client kubernetes.Interface, name string, kind corev1.NodeConditionType) corev1.NodeCondition {
	t.Helper()
	node, err := client.CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range node.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// TestAllCloudcoresAway: Kubernetes marks a node Unknown, since nobody renewed its Lease.
// The next cloudcore restores the node's last reported conditions, whether the node is
// connected or not.
func TestAllCloudcoresAway(t *testing.T) {
	for _, linked := range []bool{true, false} {
		t.Run(fmt.Sprintf("linked=%t", linked), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := controllertest.NewClientset(edgeNode("n"))
				set := func(ready, pressure corev1.ConditionStatus, reason string) {
					node, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
					if err != nil {
						t.Fatal(err)
					}
					node.Status.Conditions = slices.DeleteFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type != nodelifecycle.ConditionConnected })
					node.Status.Conditions = append(node.Status.Conditions,
						corev1.NodeCondition{Type: corev1.NodeReady, Status: ready, Reason: reason},
						corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: pressure, Reason: reason})
					if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
				}
				set(corev1.ConditionTrue, corev1.ConditionFalse, "KubeletReady")
				first := start(t, client, "cc-1")
				first.Connected(connected("n", 1))
				time.Sleep(time.Minute)
				if !linked {
					first.Connected(disconnected("n", 1))
					time.Sleep(time.Minute)
				}
				synctest.Wait()
				// The first cloudcore has ended, and its Lease expires.
				old := lease(t, client, "n")
				past := metav1.NewMicroTime(time.Now().Add(-2 * time.Minute))
				old.Spec.RenewTime, old.Annotations[nodelifecycle.HolderAnnotation] = &past, "cc-0"
				if _, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Update(t.Context(), old, metav1.UpdateOptions{}); err != nil {
					t.Fatal(err)
				}
				set(corev1.ConditionUnknown, corev1.ConditionUnknown, "NodeStatusUnknown")
				second := start(t, client, "cc-2")
				begin := time.Now()
				if linked {
					second.Connected(connected("n", 1))
				}
				synctest.Wait()
				if age := begin.Sub(lease(t, client, "n").Spec.RenewTime.Time); age > time.Second {
					t.Errorf("the lease was not renewed first: it is %s old", age)
				}
				for kind, want := range map[corev1.NodeConditionType]corev1.ConditionStatus{corev1.NodeReady: corev1.ConditionTrue, corev1.NodeDiskPressure: corev1.ConditionFalse} {
					if c := condition(t, client, "n", kind); c.Status != want || c.Reason != nodelifecycle.ReasonRestored {
						t.Errorf("%s is %s %s, want %s", kind, c.Status, c.Reason, want)
					}
				}
			})
		})
	}
}

func TestAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bound := func(name, node string) *corev1.Pod {
			return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: node}}
		}
		ending := bound("ending", "n")
		ending.DeletionTimestamp, ending.Finalizers = &metav1.Time{Time: time.Now()}, []string{"x/y"}
		client := controllertest.NewClientset(edgeNode("n"), bound("web", "n"), bound("else", "m"), ending, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "plain"}})
		k := start(t, client, "cc-1")
		k.Connected(connected("n", 1))
		synctest.Wait()
		for name, want := range map[string]error{"n": nodelifecycle.ErrConnected, "plain": nodelifecycle.ErrNotEdge, "none": nodelifecycle.ErrNoNode} {
			if _, err := nodelifecycle.Abandon(t.Context(), client, name); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
		k.Connected(disconnected("n", 1))
		time.Sleep(time.Minute)
		for range 2 { // it may be repeated
			if _, err := nodelifecycle.Abandon(t.Context(), client, "n"); err != nil {
				t.Fatal(err)
			}
		}
		gone := time.Now()
		left, err := client.CoreV1().Pods("").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range left.Items {
			if p.Spec.NodeName == "n" {
				t.Errorf("pod %s is left", p.Name)
			}
		}
		time.Sleep(10 * time.Minute)
		const out = " edgekit.io/disconnected:NoSchedule node.kubernetes.io/out-of-service:NoExecute"
		if got := state(t, client, "n"); got != "False GivenUp"+out {
			t.Errorf("given up: %s", got)
		}
		if late := lease(t, client, "n").Spec.RenewTime.Sub(gone); late > 0 {
			t.Errorf("the lease was renewed for %s more", late)
		}
		k.Connected(connected("n", 2)) // the node connects again
		if got := state(t, client, "n"); got != "True Connected" {
			t.Errorf("after its return: %s", got)
		}
		if age := time.Since(lease(t, client, "n").Spec.RenewTime.Time); age > time.Second {
			t.Errorf("after its return the lease is %s old", age)
		}
	})
}

func ExampleController() {
	client := controllertest.NewClientset()
	nodes, err := edge.NewNodeStore(client, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	k, err := nodelifecycle.New(nodelifecycle.Config{Cloud: client, NodeClient: client, Nodes: nodes, ID: "cloudcore-0"})
	if err != nil {
		fmt.Println(err)
		return
	}
	// A hub.Server tells the keeper of sessions: hub.Node{Connected: k.Connected}.
	k.Connected(hub.Info{Node: "edge-7", Connected: true, Epoch: 1})
	fmt.Println("ok")
	// Output: ok
}
