package nodestatus

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/edged/internal/hostinfo"
	"github.com/edgekit/edgekit/edged/runtime"
)

// nodeCloud is the Reports of a Reporter.
type nodeCloud struct {
	deleted chan *corev1.Node

	mu     sync.Mutex
	nodes  []*corev1.Node
	events []corev1.Event
}

func (c *nodeCloud) NodeDeleted(context.Context) <-chan *corev1.Node { return c.deleted }

func (c *nodeCloud) Node(_ context.Context, n *corev1.Node) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes = append(c.nodes, n)
	return nil
}

func (c *nodeCloud) event(kind, reason, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.events = append(c.events, corev1.Event{Type: kind, Reason: reason, Message: message})
}

func (c *nodeCloud) lastNode() (*corev1.Node, int) {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[len(c.nodes)-1], len(c.nodes)
}

// healthy is a Runtime that is up.
type healthy struct{ runtime.Runtime }

func (healthy) Version(context.Context) (runtime.Version, error) {
	return runtime.Version{Name: "fake", Version: "1"}, nil
}

func (healthy) Health(context.Context) (runtime.Health, error) {
	return runtime.Health{RuntimeReady: true, NetworkReady: true}, nil
}
func (healthy) ListImages(context.Context) ([]runtime.Image, error) { return nil, nil }

// runReporter runs a nodeReporter until the test's end.
func runReporter(t *testing.T, cfg Config, change func(*Reporter)) (*Reporter, *nodeCloud) {
	t.Helper()
	cloud := &nodeCloud{deleted: make(chan *corev1.Node, 1)}
	cfg.NodeName, cfg.Runtime, cfg.Reports, cfg.Root, cfg.Version = "edge", healthy{}, cloud, t.TempDir(), "v1.37.2"
	cfg.NodeDeleted, cfg.Event = cloud.NodeDeleted, cloud.event
	cfg.OutboundIP = func() (netip.Addr, error) { return netip.MustParseAddr("192.0.2.1"), nil }
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(n)
	}
	if err := n.Load(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return n, cloud
}

func diskCondition(n *corev1.Node) corev1.NodeCondition {
	i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeDiskPressure })
	return n.Status.Conditions[i]
}

// TestDiskHangs: the file system stops answering. The rest of the node's status is
// reported, no caller waits for the disk, and DiskPressure is Unknown.
func TestDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang, calls := make(chan struct{}), 0
		free := int64(50)
		n, cloud := runReporter(t, Config{}, func(n *Reporter) {
			n.disk.stat = func(string) (hostinfo.Space, error) {
				calls++
				if calls > 2 {
					<-hang
				}
				return hostinfo.Space{Total: 100, Free: free}, nil
			}
		})
		first, _ := cloud.lastNode()
		if c := diskCondition(first); c.Status != corev1.ConditionFalse {
			t.Fatalf("at first %+v", c)
		}
		time.Sleep(45 * time.Second)
		node, _ := cloud.lastNode()
		if c := diskCondition(node); c.Status != corev1.ConditionUnknown || c.Reason != reasonDiskSilent || !strings.Contains(c.Message, "does not answer") {
			t.Errorf("while the disk hangs: %+v", c)
		}
		if calls != 3 {
			t.Errorf("%d calls are under way or were made", calls)
		}
		_, reported := cloud.lastNode()
		answered := make(chan []string, 1)
		go func() { answered <- n.Addresses() }() // a worker
		synctest.Wait()
		select {
		case <-answered:
		default:
			t.Error("a worker waits for the disk")
		}
		time.Sleep(5 * time.Minute)
		if _, now := cloud.lastNode(); now != reported {
			t.Errorf("%d reports of the same state", now-reported)
		}
		close(hang)
		time.Sleep(30 * time.Second)
		node, _ = cloud.lastNode()
		if c := diskCondition(node); c.Status != corev1.ConditionFalse {
			t.Errorf("after it has answered: %+v", c)
		}
	})
}

// TestDiskHangsAtTheEnd: an Agent ends while the disk hangs.
func TestDiskHangsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		d := newDiskCheck("/", time.Minute, func(string) (hostinfo.Space, error) { <-hang; return hostinfo.Space{}, nil })
		if _, err := d.space(t.Context()); err != nil {
			t.Errorf("it is slow, not silent: %v", err)
		}
		begun := time.Now()
		d.join()
		if took := time.Since(begun); took != diskJoin {
			t.Errorf("the end waited %s", took)
		}
		close(hang)
		d.join()
	})
}

// TestAddressesChange moves the machine to another network.
func TestAddressesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		ip, err := netip.MustParseAddr("192.0.2.1"), error(nil)
		set := func(a string, e error) {
			mu.Lock()
			defer mu.Unlock()
			ip, err = netip.MustParseAddr(a), e
		}
		reported := make(chan []string, 8)
		_, cloud := runReporter(t, Config{}, func(n *Reporter) {
			n.cfg.OutboundIP = func() (netip.Addr, error) {
				mu.Lock()
				defer mu.Unlock()
				return ip, err
			}
			n.cfg.AddressesChanged = func() { reported <- n.Addresses() }
		})
		time.Sleep(time.Minute)
		if len(reported) != 0 {
			t.Errorf("reported %v, though nothing changed", <-reported)
		}
		set("198.51.100.4", nil)
		time.Sleep(11 * time.Second)
		if len(reported) != 1 || (<-reported)[0] != "198.51.100.4" {
			t.Errorf("the change was reported %d times", len(reported))
		}
		node, _ := cloud.lastNode()
		want := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "198.51.100.4"}, {Type: corev1.NodeHostName, Address: "edge"}}
		if !slices.Equal(node.Status.Addresses, want) {
			t.Errorf("addresses %v, want %v", node.Status.Addresses, want)
		}
		set("198.51.100.4", errors.New("no network"))
		time.Sleep(time.Minute)
		if len(reported) != 0 {
			t.Error("a node without a network keeps its addresses")
		}
	})
}

// TestRegistersAgain: the Node is deleted while nothing else changes.
func TestRegistersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Config{
			Labels: map[string]string{"site": "berlin"}, Annotations: map[string]string{"owner": "lab"},
			Taints: []corev1.Taint{{Key: "edge", Effect: corev1.TaintEffectNoSchedule}},
		}
		_, cloud := runReporter(t, cfg, nil)
		_, before := cloud.lastNode()
		was := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: "edge", Labels: map[string]string{"site": "berlin", "rack": "4", roleLabel: "", kubeletLabel: "10.0.0.1_20000"},
			Annotations: map[string]string{"owner": "lab", "edgekit.io/autonomy": "72h", "node.alpha.kubernetes.io/ttl": "0"},
		}, Spec: corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{
			{Key: "edge", Effect: corev1.TaintEffectNoSchedule}, {Key: disconnectedTaint}, {Key: "node.kubernetes.io/unschedulable"}, {Key: "gpu"},
		}}}
		cloud.deleted <- was
		node, now := cloud.lastNode()
		if now != before+1 || node.Labels["site"] != "berlin" || node.Annotations["owner"] != "lab" || len(node.Spec.Taints) != 1 {
			t.Fatalf("%d reports after it was deleted; the last is %+v", now-before, node.ObjectMeta)
		}
		if len(cloud.events) != 1 {
			t.Fatalf("events %v", cloud.events)
		}
		e := cloud.events[0]
		if e.Reason != ReasonRegisteredAgain || e.Type != corev1.EventTypeWarning || !strings.Contains(e.Message, "edgectl node remove edge") ||
			!strings.HasSuffix(e.Message, "is lost: label rack, annotation edgekit.io/autonomy, taint gpu, cordon") {
			t.Errorf("event %s: %s", e.Reason, e.Message)
		}
		time.Sleep(time.Hour)
		if _, later := cloud.lastNode(); later != now || len(cloud.events) != 1 {
			t.Errorf("%d reports, %d events: it goes on", later, len(cloud.events))
		}
	})
}
