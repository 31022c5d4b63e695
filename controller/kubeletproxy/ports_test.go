package kubeletproxy

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/hub"
)

// recordedAt is a Node whose record and status name the port at an address.
func recordedAt(name, address string, port int) *corev1.Node {
	n := nodeWith(name, int32(port), address, "192.168.1.5")
	n.Labels = map[string]string{RecordLabel: recordValue(netip.MustParseAddr(address), port)}
	return n
}

func nodeWith(name string, port int32, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
	}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = port
	return n
}

func TestEndpoint(t *testing.T) {
	reported := nodeWith("edge-1", 0, "192.168.1.5")
	reported.Status.Addresses = append(reported.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "edge-1"})
	for name, n := range map[string]*corev1.Node{
		"as reported":            reported,
		"has it":                 nodeWith("edge-1", 30100, "10.0.0.1", "192.168.1.5"),
		"was at another":         nodeWith("edge-1", 20005, "10.0.0.9", "192.168.1.5"),
		"same address as before": nodeWith("edge-1", 20005, "10.0.0.1", "192.168.1.5"),
	} {
		internal := []corev1.NodeAddressType{corev1.NodeInternalIP}
		setAddress(&n.Status, "10.0.0.1", 30100, internal)
		if want := nodeWith("edge-1", 30100, "10.0.0.1", "192.168.1.5"); !slices.Equal(n.Status.Addresses, want.Status.Addresses) ||
			n.Status.DaemonEndpoints != want.Status.DaemonEndpoints {
			t.Errorf("%s: %v", name, n.Status)
		}
	}
	named := reported.DeepCopy()
	named.Status.Addresses = append(named.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: "edge-1"})
	s := &Server{cfg: Config{Address: netip.MustParseAddr("10.0.0.1"), Hostname: true}}
	for range 2 { // the second time changes nothing
		s.setAddress(&named.Status, 30100)
		want := []corev1.NodeAddress{
			{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}, {Type: corev1.NodeInternalIP, Address: "192.168.1.5"}, {Type: corev1.NodeHostName, Address: "edge-1"},
		}
		if !slices.Equal(named.Status.Addresses, want) {
			t.Errorf("with host names: %v", named.Status.Addresses)
		}
	}
}

// TestPortsStay follows ports through restarts, moves and ends of nodes.
func TestPortsStay(t *testing.T) {
	c := newCloud(t, nil)
	change := func(old, now *corev1.Node) {
		name := cache.Name{Name: "edge-1"}
		c.nodeChanged(cache.Change[*corev1.Node]{Name: name, Old: old, New: now})
	}
	claimed := recordedAt("edge-1", "127.0.0.1", 30150)
	change(nil, claimed)
	if got := c.assignPort("edge-1", 0); got != 30150 {
		t.Errorf("port %d after a restart", got)
	}
	if got := c.assignPort("edge-9", 30150); got == 30150 || got == 0 {
		t.Errorf("another node got port %d", got)
	}
	change(claimed, recordedAt("edge-1", "10.9.9.9", 30150))
	if c.byNode["edge-1"] != nil {
		t.Error("a node that has changed over keeps its port here")
	}
	c.Connected(hub.Info{Node: "edge-1", Connected: true, Epoch: 2})
	c.Connected(hub.Info{Node: "edge-1", Epoch: 1}) // of an older session
	change(nil, recordedAt("edge-1", "10.9.9.9", 20001))
	if st := c.byNode["edge-1"]; st == nil || !st.connected || !c.due["edge-1"] {
		t.Errorf("a connected node: %+v", st)
	}
	change(nodeWith("edge-1", 1), nil)
	if c.byNode["edge-1"] != nil || len(c.records.port) != 0 {
		t.Error("a node that is gone keeps its port")
	}
}

// TestUsedPorts: other programs listen on many ports in a row before the first free one.
func TestUsedPorts(t *testing.T) {
	const first, ports, free = 28000, 200, 28150
	for p := first; p < first+ports; p++ {
		if p == free {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			t.Skipf("port %d is used by another program", p)
		}
		defer l.Close()
	}
	c := newCloud(t, func(cfg *Config) { cfg.FirstPort, cfg.Ports = first, ports })
	c.run(t)
	if got := c.assignPort("edge-1", free+1); got != free {
		t.Errorf("port %d, want %d, the only free one", got, free)
	}
}

func TestRecord(t *testing.T) {
	for _, address := range []string{"10.0.0.5", "fd00::5", "::1"} {
		value := recordValue(netip.MustParseAddr(address), 20007)
		if problems := validation.IsValidLabelValue(value); len(problems) > 0 {
			t.Errorf("%s: %q is no label value: %v", address, value, problems)
		}
		if got, port, ok := parseRecord(value); !ok || got.String() != address || port != 20007 {
			t.Errorf("%s: %q is read as %s %d %v", address, value, got, port, ok)
		}
	}
	for _, bad := range []string{"", "x", "10.0.0.5", "10.0.0.5_", "_20007", "10.0.0.5_020007", "10.0.0.5_-1", "10-0-0-5_1"} {
		if got, port, ok := parseRecord(bad); ok {
			t.Errorf("%q is read as %s %d", bad, got, port)
		}
	}
}

func TestNoPortLeft(t *testing.T) {
	c := newCloud(t, func(cfg *Config) { cfg.Ports = 1 })
	if c.assignPort("edge-1", 0) != 30100 || c.assignPort("edge-2", 0) != 0 {
		t.Error("one port for two nodes")
	}
	n := nodeWith("edge-2", 0, "192.168.1.5")
	c.AmendNode(n)
	if n.Status.DaemonEndpoints.KubeletEndpoint.Port != 0 || n.Status.Addresses[0].Address != "192.168.1.5" {
		t.Errorf("%v", n.Status)
	}
	c.removeNode("edge-1")
	if c.assignPort("edge-2", 0) != 30100 {
		t.Error("a free port is not used")
	}
}
