package nodelifecycle_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

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
		// The node moves to b; a notices later that its session is dead.
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

// TestLeaseDeleted: somebody deletes the Lease, at any time between two renewals. The
// cloudcore that once had the node must not write that the node has no link: the one that
// has it now writes the Lease again.
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

// TestClaim: a node moves to another cloudcore. Epochs grow over both, and the one that
// lost the node learns it from the Lease and stops renewing that.
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
