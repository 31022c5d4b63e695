package nodelifecycle_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/install"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
	"github.com/edgekit/edgekit/hub"
)

// TestAttackLease: a node writes its own Lease, which NodeRestriction allows. That
// changes neither the holder of the node nor the count of its sessions.
func TestAttackLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset(edgeNode("n"))
		superseded := 0
		k := startWith(t, client, "cc-a", func(string, hub.Claim) { superseded++ })
		claim := func() (held hub.Claim) {
			err := k.Claim(t.Context(), "n", func(h hub.Claim) (hub.Claim, error) {
				held = h
				return hub.Claim{Epoch: h.Epoch + 1, Instance: "p"}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return held
		}
		claim()
		k.Connected(connected("n", 1))
		time.Sleep(time.Minute)
		forged, err := json.Marshal(hub.Claim{Epoch: 1 << 60, Instance: "hostile"})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			synctest.Wait()
			l := lease(t, client, "n")
			l.Annotations[nodelifecycle.ClaimAnnotation] = string(forged)
			l.Annotations[nodelifecycle.HolderAnnotation] = "hostile"
			l.Annotations[nodelifecycle.SinceAnnotation] = time.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)
			if _, err := client.CoordinationV1().Leases(corev1.NamespaceNodeLease).Update(t.Context(), l, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(nodelifecycle.RenewEvery + time.Second)
		}
		if got := lease(t, client, "n"); superseded != 0 || got.Annotations[nodelifecycle.HolderAnnotation] != "cc-a" || time.Since(got.Spec.RenewTime.Time) > 2*nodelifecycle.RenewEvery {
			t.Errorf("superseded %d times, lease %+v", superseded, got)
		}
		if held := claim(); held.Epoch != 1 {
			t.Errorf("the next session finds %+v", held)
		}
		record, err := client.CoordinationV1().Leases(install.Namespace).Get(t.Context(), "edgekit-node-n", metav1.GetOptions{})
		if err != nil || len(record.OwnerReferences) != 1 || record.OwnerReferences[0].UID != "u-1" {
			t.Errorf("record %+v, %v", record, err)
		}
	})
}

// TestAttackCondition: a node with an autonomy of ten minutes reports again and again
// that its link was lost a moment ago, and cloudcore is restarted meanwhile. The ten
// minutes do not start again.
func TestAttackCondition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := edgeNode("n")
		node.Labels[nodelifecycle.AutonomyLabel] = "10m"
		client := controllertest.NewClientset(node)
		k := start(t, client, "cc-1")
		k.Connected(connected("n", 1))
		time.Sleep(time.Minute)
		k.Connected(disconnected("n", 1))
		gone := time.Now()
		time.Sleep(time.Minute)
		start(t, client, "cc-2") // knows no session
		for range 60 {
			time.Sleep(time.Minute / 2)
			synctest.Wait()
			got, err := client.CoreV1().Nodes().Get(t.Context(), "n", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range got.Status.Conditions {
				if c := &got.Status.Conditions[i]; c.Type == nodelifecycle.ConditionConnected {
					c.LastTransitionTime = metav1.Now()
				}
			}
			if _, err := client.CoreV1().Nodes().UpdateStatus(t.Context(), got, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if kept := lease(t, client, "n").Spec.RenewTime.Sub(gone); kept > 11*time.Minute {
			t.Errorf("it was kept for %s", kept)
		}
	})
}

// TestLongNames: each node's record has a valid and unique Lease name.
func TestLongNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := controllertest.NewClientset()
		k := start(t, client, "cc-1")
		stop := errors.New("stop")
		for _, name := range []string{strings.Repeat("a", 253), strings.Repeat("a", 252) + "b"} {
			for want := range uint64(2) {
				err := k.Claim(t.Context(), name, func(h hub.Claim) (hub.Claim, error) {
					if h.Epoch != want {
						return h, stop
					}
					return hub.Claim{Epoch: h.Epoch + 1}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		}
		all, err := client.CoordinationV1().Leases(install.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(all.Items) != 2 {
			t.Fatalf("%v, %v", all, err)
		}
		for _, l := range all.Items {
			if len(l.Name) > 253 {
				t.Errorf("a name of %d", len(l.Name))
			}
		}
	})
}
