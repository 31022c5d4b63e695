package nodelifecycle_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/kubernetes/fake"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/internal/members"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// startMember runs a Controller that knows of the other cloudcores. leave ends it in order.
func startMember(t *testing.T, client *fake.Clientset, id string) (_ *nodelifecycle.Controller, leave func()) {
	t.Helper()
	m, err := members.New(members.Config{Leases: client.CoordinationV1().Leases("edgekit-system"), ID: id})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := edge.NewNodeStore(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := nodelifecycle.New(nodelifecycle.Config{Cloud: client, NodeClient: client, Nodes: nodes, ID: id, Members: m})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{m.Run, nodes.Run, func(ctx context.Context) error { return k.Run(ctx, nil) }} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	end := sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(end)
	synctest.Wait()
	return k, end
}

// nodeLeaseReads counts reads of nodes' own Leases.
func nodeLeaseReads(client *fake.Clientset) (n int) {
	for _, a := range client.Actions() {
		if a.Matches("get", "leases") && a.GetNamespace() == "kube-node-lease" {
			n++
		}
	}
	return n
}

// TestHeldElsewhere has three cloudcores, one with all the nodes. The others do not read the Leases
// of those nodes again and again. When that cloudcore goes, the two others take over, and each
// has some of the nodes.
func TestHeldElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 8
		client := controllertest.NewClientset()
		for i := range count {
			n := edgeNode(fmt.Sprintf("n-%d", i))
			if err := client.Tracker().Add(n); err != nil {
				t.Fatal(err)
			}
		}
		a, leave := startMember(t, client, "a")
		_, _ = startMember(t, client, "b")
		_, _ = startMember(t, client, "c")
		for i := range count {
			a.Connected(connected(fmt.Sprintf("n-%d", i), 1))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		client.ClearActions()
		time.Sleep(6 * time.Minute)
		synctest.Wait()
		// Each of the two looks once or twice in six minutes; without Members they would every ten seconds.
		if n := nodeLeaseReads(client); n < 2*count || n > 4*count {
			t.Errorf("%d reads of Leases that another cloudcore renews, want %d to %d", n, 2*count, 4*count)
		}
		leave()
		time.Sleep(nodelifecycle.StaleAfter + 2*nodelifecycle.RenewEvery)
		synctest.Wait()
		shares := make(map[string]int)
		for i := range count {
			l := lease(t, client, fmt.Sprintf("n-%d", i))
			if age := time.Since(l.Spec.RenewTime.Time); age > nodelifecycle.StaleAfter+2*nodelifecycle.RenewEvery {
				t.Errorf("node %d: nobody has renewed the Lease for %v", i, age)
			}
			shares[l.Annotations[nodelifecycle.HolderAnnotation]]++
		}
		if shares["a"] > 0 || shares["b"] == 0 || shares["c"] == 0 {
			t.Errorf("shares %v: want each of b and c to have a part", shares)
		}
	})
}
