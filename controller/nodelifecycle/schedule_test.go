package nodelifecycle

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/edgekit/edgekit/controller/controllertest"
	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
)

func keeperOf(tb testing.TB, nodes int) *Controller {
	tb.Helper()
	client := controllertest.NewClientset()
	store, err := cache.New(cache.Config[*corev1.Node]{ListWatch: &toolscache.ListWatch{}, Type: &corev1.Node{}})
	if err != nil {
		tb.Fatal(err)
	}
	k, err := New(Config{Cloud: client, NodeClient: client, Nodes: store, ID: "cc"})
	if err != nil {
		tb.Fatal(err)
	}
	for i := range nodes {
		node := &corev1.Node{}
		node.Name = fmt.Sprint("edge-", i)
		k.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: node.Name}, New: node})
	}
	return k
}

// TestQueue adds, delays, processes and removes nodes, and compares the queue with a scan
// of all nodes.
func TestQueue(t *testing.T) {
	const nodes = 200
	k := keeperOf(t, nodes)
	now := time.Now()
	random := rand.New(rand.NewPCG(1, 2))
	busy := map[*node]bool{}
	for step := range 20_000 {
		name := fmt.Sprint("edge-", random.IntN(nodes))
		n := k.nodes[name]
		switch random.IntN(5) {
		case 0:
			k.mu.Lock()
			k.scheduleLocked(k.nodeLocked(name, now), now.Add(time.Duration(random.IntN(20_000))*time.Millisecond))
			k.mu.Unlock()
		case 1:
			if n != nil && !n.session.Connected {
				k.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: name}})
			}
		case 2:
			node := &corev1.Node{}
			node.Name = name
			k.nodeChanged(cache.Change[*corev1.Node]{Name: cache.Name{Name: name}, New: node})
		case 3: // as processNode ends
			for n := range busy {
				delete(busy, n)
				n.busy = false
				if k.nodes[n.name] == n {
					k.queue.set(n, now.Add(time.Second))
				}
				break
			}
		case 4:
			now = now.Add(100 * time.Millisecond)
			want := map[*node]bool{}
			for _, n := range k.nodes {
				if !n.busy && !n.due.After(now) {
					want[n] = true
				}
			}
			got := k.nextDue(now)
			for _, n := range got {
				if !want[n] || busy[n] {
					t.Fatalf("step %d: %s is not due", step, n.name)
				}
				busy[n] = true
			}
			if len(got) != len(want) {
				t.Fatalf("step %d: %d nodes are due, want %d", step, len(got), len(want))
			}
		}
	}
}

// BenchmarkConnect connects a node to a cloudcore that has 100,000, up to the write of
// its Lease.
func BenchmarkConnect(b *testing.B) {
	const nodes = 100_000
	k := keeperOf(b, nodes)
	began := time.Now()
	i := 0
	for b.Loop() {
		i++
		name := fmt.Sprint("edge-", i*7919%nodes)
		k.Connected(hub.Info{Node: name, Epoch: uint64(i), Connected: true, Since: began})
		k.nextDue(began.Add(-time.Hour)) // nothing but the look
	}
}

// TestMarkedWhileBusy: a mark of a pod does not delay what has the node due sooner, also while the node
// is being handled; and it has a node due for which nothing else is.
func TestMarkedWhileBusy(t *testing.T) {
	k := keeperOf(t, 2)
	now := time.Now()
	for _, name := range []string{"edge-0", "edge-1"} {
		k.Connected(hub.Info{Node: name, Epoch: 1, Connected: true, Since: now})
	}
	if due := k.nextDue(time.Now()); len(due) != 2 {
		t.Fatalf("%d nodes are due", len(due))
	}
	k.Connected(hub.Info{Node: "edge-0", Epoch: 2, Connected: true, Since: now})
	for _, name := range []string{"edge-0", "edge-1"} {
		k.PodsMarked(name)
	}
	if n := k.nodes["edge-0"]; !n.again || n.due.After(time.Now()) {
		t.Errorf("a new session is looked at %v late", time.Until(n.due))
	}
	if n := k.nodes["edge-1"]; !n.again || time.Until(n.due) > restoreDelay {
		t.Errorf("after a mark the node is due in %v, again %t", time.Until(n.due), n.again)
	}
}
