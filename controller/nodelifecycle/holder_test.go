package nodelifecycle_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/edge"
	"github.com/edgekit/edgekit/controller/internal/members"
	"github.com/edgekit/edgekit/controller/nodelifecycle"
)

// startMember runs a Controller that knows of the other cloudcores. leave ends it in order.
func startMember(t *testing.T, client *fake.Clientset, id string) (_ *nodelifecycle.Controller, leave func()) {
	t.Helper()
	return startMemberWith(t, client, client, id)
}

// startMemberWith is startMember with another client for what is written as a node.
func startMemberWith(t *testing.T, client *fake.Clientset, nodeClient kubernetes.Interface, id string) (_ *nodelifecycle.Controller, leave func()) {
	t.Helper()
	m, err := members.New(members.Config{Leases: client.CoordinationV1().Leases("edgekit-system"), ID: id})
	if err != nil {
		t.Fatal(err)
	}
	nodes, err := edge.NewNodeStore(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	k, err := nodelifecycle.New(nodelifecycle.Config{Cloud: client, NodeClient: nodeClient, Nodes: nodes, ID: id, Members: m})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	late := func(ctx context.Context) error { // nothing is known of the others when it begins
		time.Sleep(10 * time.Millisecond)
		return m.Run(ctx)
	}
	for _, run := range []func(context.Context) error{late, nodes.Run, func(ctx context.Context) error { return k.Run(ctx, nil) }} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	end := sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(end)
	time.Sleep(20 * time.Millisecond)
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

// lateLeases is a client by which no Lease of a node can be renewed while it is late.
type lateLeases struct {
	kubernetes.Interface
	late atomic.Bool
}

func (c *lateLeases) CoordinationV1() coordinationclient.CoordinationV1Interface {
	return lateCoordination{c.Interface.CoordinationV1(), c}
}

type lateCoordination struct {
	coordinationclient.CoordinationV1Interface
	client *lateLeases
}

func (c lateCoordination) Leases(namespace string) coordinationclient.LeaseInterface {
	return lateLease{c.CoordinationV1Interface.Leases(namespace), c.client}
}

type lateLease struct {
	coordinationclient.LeaseInterface
	client *lateLeases
}

func (l lateLease) Update(ctx context.Context, lease *coordinationv1.Lease, o metav1.UpdateOptions) (*coordinationv1.Lease, error) {
	if l.client.late.Load() {
		return nil, apierrors.NewTimeoutError("the API server is slow", 1)
	}
	return l.LeaseInterface.Update(ctx, lease, o)
}

// TestHolderSlow: a cloudcore that runs and has the nodes' sessions renews no Lease, as at a slow API
// server. Another one that looks renews the Leases in its place. It does not say that the nodes are
// disconnected, and does not become their holder.
func TestHolderSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 4
		client := controllertest.NewClientset()
		for i := range count {
			if err := client.Tracker().Add(edgeNode(fmt.Sprintf("n-%d", i))); err != nil {
				t.Fatal(err)
			}
		}
		slow := &lateLeases{Interface: client}
		a, _ := startMemberWith(t, client, slow, "a")
		for i := range count {
			a.Connected(connected(fmt.Sprintf("n-%d", i), 1))
		}
		time.Sleep(time.Minute)
		slow.late.Store(true)
		time.Sleep(nodelifecycle.StaleAfter + nodelifecycle.RenewEvery)
		_, _ = startMember(t, client, "b") // looks at all nodes
		time.Sleep(2 * nodelifecycle.RenewEvery)
		for i := range count {
			name := fmt.Sprintf("n-%d", i)
			if got := state(t, client, name); got != "True Connected" {
				t.Errorf("node %s: %s", name, got)
			}
			l := lease(t, client, name)
			if age := time.Since(l.Spec.RenewTime.Time); age > 2*nodelifecycle.RenewEvery || l.Annotations[nodelifecycle.HolderAnnotation] != "a" {
				t.Errorf("node %s: the Lease of %s was renewed %v ago", name, l.Annotations[nodelifecycle.HolderAnnotation], age)
			}
		}
		// It goes on as long as the other one is slow: Kubernetes doubts a node after 50 s.
		worst := time.Duration(0)
		for range 40 {
			time.Sleep(3 * time.Second)
			for i := range count {
				worst = max(worst, time.Since(lease(t, client, fmt.Sprintf("n-%d", i)).Spec.RenewTime.Time))
			}
		}
		if worst > nodelifecycle.StaleAfter+nodelifecycle.RenewEvery {
			t.Errorf("a Lease was not renewed for %v", worst)
		}
	})
}
