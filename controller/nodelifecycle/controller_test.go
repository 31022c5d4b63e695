package nodelifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	synctest.Wait()
	return k
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

// TestAllCloudcoresAway has Kubernetes doubt a node whose lease nobody renewed:
// the next cloudcore puts back what the node last said, linked or not.
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
				// The first is no more; time passes by its lease.
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
		k.Connected(connected("n", 2)) // it was not gone after all
		if got := state(t, client, "n"); got != "True Connected" {
			t.Errorf("after its return: %s", got)
		}
		if age := time.Since(lease(t, client, "n").Spec.RenewTime.Time); age > time.Second {
			t.Errorf("after its return the lease is %s old", age)
		}
	})
}

func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := edgeNode("n")
		node.Status.Conditions = []corev1.NodeCondition{{Type: nodelifecycle.ConditionConnected, Status: corev1.ConditionTrue, Reason: nodelifecycle.ReasonConnected}}
		renewed, who := metav1.NewMicroTime(time.Now()), "n"
		client := controllertest.NewClientset(node, &coordinationv1.Lease{
			ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: "n", Annotations: map[string]string{nodelifecycle.HolderAnnotation: "cc-0"}},
			Spec:       coordinationv1.LeaseSpec{RenewTime: &renewed, HolderIdentity: &who},
		})
		begin := time.Now()
		start(t, client, "cc-1")
		time.Sleep(nodelifecycle.StaleAfter - time.Second)
		synctest.Wait()
		if l := lease(t, client, "n"); l.Annotations[nodelifecycle.HolderAnnotation] != "cc-0" {
			t.Error("a lease that was renewed a moment ago was taken")
		}
		time.Sleep(nodelifecycle.RenewEvery + 2*time.Second)
		synctest.Wait()
		l := lease(t, client, "n")
		if l.Annotations[nodelifecycle.HolderAnnotation] != "cc-1" || l.Spec.RenewTime.Sub(begin) > nodelifecycle.StaleAfter+nodelifecycle.RenewEvery+time.Second {
			t.Errorf("lease %+v", l)
		}
		if got := state(t, client, "n"); got != "False CloudcoreLost edgekit.io/disconnected:NoSchedule" {
			t.Errorf("after the take-over: %s", got)
		}
	})
}

func TestTwoCloudcores(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(edgeNode("n"))
		a, b := start(t, client, "cc-a"), start(t, client, "cc-b")
		a.Connected(connected("n", 1))
		synctest.Wait()
		time.Sleep(time.Minute)
		// The node goes over to b; a notices later that its session is dead.
		b.Connected(connected("n", 1))
		time.Sleep(3 * time.Second)
		a.Connected(disconnected("n", 1))
		for range 60 {
			time.Sleep(time.Second)
			if got := state(t, client, "n"); got != "True Connected" {
				t.Fatalf("the node that went over: %s", got)
			}
		}
		if holder := lease(t, client, "n").Annotations[nodelifecycle.HolderAnnotation]; holder != "cc-b" {
			t.Errorf("lease is held by %s", holder)
		}
	})
}

// TestClaim has a node go over to another cloudcore: epochs grow over both, the
// one that lost it is told by the lease and lets go of that.
// TestLeaseDeleted has somebody delete the Lease, at any time between two renewals. The
// cloudcore that once had the node must not write that the node has no link: the one that has
// it now writes the Lease again.
func TestLeaseDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(edgeNode("e1"))
		before, now := start(t, client, "before"), start(t, client, "now")
		before.Connected(connected("e1", 1))
		time.Sleep(3 * time.Second)
		before.Connected(disconnected("e1", 1))
		now.Connected(connected("e1", 2))
		time.Sleep(time.Minute)
		for wait := range 20 {
			time.Sleep(time.Duration(wait) * time.Second / 2)
			if err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Delete(t.Context(), "e1", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			for range 30 {
				time.Sleep(time.Second)
				if got := state(t, client, "e1"); got != "True Connected" {
					t.Fatalf("deleted %d half seconds after the check: %s", wait, got)
				}
			}
			if _, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), "e1", metav1.GetOptions{}); err != nil {
				t.Fatalf("the Lease was not written again: %v", err)
			}
		}
	})
}

func TestClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(edgeNode("n"))
		superseded := make(map[string]hub.Claim)
		a := startWith(t, client, "cc-a", func(node string, by hub.Claim) { superseded["a "+node] = by })
		b := startWith(t, client, "cc-b", func(node string, by hub.Claim) { superseded["b "+node] = by })
		claim := func(k *nodelifecycle.Controller, instance string) uint64 {
			var claim hub.Claim
			err := k.Claim(t.Context(), "n", func(held hub.Claim) (hub.Claim, error) {
				claim = hub.Claim{Epoch: held.Epoch + 1, Instance: instance}
				return claim, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return claim.Epoch
		}
		first := claim(a, "p")
		a.Connected(connected("n", first))
		time.Sleep(30 * time.Second)
		second := claim(b, "p")
		b.Connected(connected("n", second))
		if second <= first {
			t.Errorf("epoch %d after %d", second, first)
		}
		time.Sleep(nodelifecycle.RenewEvery + 2*time.Second)
		synctest.Wait()
		if by, ok := superseded["a n"]; !ok || by.Epoch != second || len(superseded) != 1 {
			t.Errorf("superseded: %v", superseded)
		}
		if l := lease(t, client, "n"); l.Annotations[nodelifecycle.HolderAnnotation] != "cc-b" || l.OwnerReferences[0].UID != "u-1" {
			t.Errorf("lease %+v", l.ObjectMeta)
		}
		refused := errors.New("no")
		if err := a.Claim(t.Context(), "n", func(hub.Claim) (hub.Claim, error) { return hub.Claim{}, refused }); !errors.Is(err, refused) {
			t.Errorf("a claim that is refused: %v", err)
		}
		var held hub.Claim
		if err := a.Claim(t.Context(), "n", func(h hub.Claim) (hub.Claim, error) { held = h; return h, refused }); !errors.Is(err, refused) || held.Epoch != second {
			t.Errorf("held by %+v, %v", held, err)
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
