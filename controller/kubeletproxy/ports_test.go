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

// TestEndpoint: with each type of address cloudcore's replaces that of the cloudcore and of
// the type before, the node's own stay, and with all but InternalIP they come first.
func TestEndpoint(t *testing.T) {
	const (
		ip, dns, host = corev1.NodeInternalIP, corev1.NodeInternalDNS, corev1.NodeHostName
		mine, other   = "10.0.0.1", "10.0.0.9"
	)
	list := func(pairs ...string) (out []corev1.NodeAddress) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, corev1.NodeAddress{Type: corev1.NodeAddressType(pairs[i]), Address: pairs[i+1]})
		}
		return out
	}
	in, d, h := string(ip), string(dns), string(host)
	before := map[string]struct {
		port      int32
		record    string
		addresses []corev1.NodeAddress
	}{
		"as reported":                 {0, "", list(in, "192.168.1.5", in, "fd00::5", h, "edge-1")},
		"InternalIP":                  {20005, mine, list(in, mine, in, "192.168.1.5", in, "fd00::5")},
		"InternalIP, other cloudcore": {20005, other, list(in, other, in, "192.168.1.5", in, "fd00::5")},
		"InternalIP, before records":  {20005, "", list(in, other, in, "192.168.1.5", in, "fd00::5")},
		"InternalDNS":                 {20005, mine, list(in, "192.168.1.5", in, "fd00::5", d, mine)},
		"InternalDNS, other":          {20005, other, list(in, "192.168.1.5", in, "fd00::5", h, "edge-1", d, other)},
		"Hostname":                    {20005, mine, list(in, "192.168.1.5", in, "fd00::5", h, mine)},
		"ExternalIP":                  {20005, mine, list(in, "192.168.1.5", in, "fd00::5", string(corev1.NodeExternalIP), mine)},
	}
	own := list(in, "192.168.1.5", in, "fd00::5")
	want := map[corev1.NodeAddressType][]corev1.NodeAddress{
		ip: slices.Concat(list(in, mine), own), dns: slices.Concat(own, list(d, mine)), host: slices.Concat(own, list(h, mine)),
		corev1.NodeExternalIP: slices.Concat(own, list(string(corev1.NodeExternalIP), mine)), AddressNone: own,
	}
	for kind, want := range want {
		s := &Server{cfg: Config{Address: netip.MustParseAddr(mine), AddressType: kind}}
		for name, b := range before {
			n := nodeWith("edge-1", b.port)
			n.Status.Addresses = b.addresses
			if b.record != "" {
				n.Labels = map[string]string{RecordLabel: recordValue(netip.MustParseAddr(b.record), 20005)}
			}
			for range 2 { // the second time changes nothing
				s.setAddress(n, 30100)
				if !slices.Equal(n.Status.Addresses, want) || n.Status.DaemonEndpoints.KubeletEndpoint.Port != 30100 || !s.showsPort(n, 30100) {
					t.Errorf("%s after %s: %v", kind, name, n.Status)
				}
				n.Labels = map[string]string{RecordLabel: recordValue(netip.MustParseAddr(mine), 30100)}
			}
			if s.showsPort(n, 30101) {
				t.Errorf("%s after %s: it shows any port", kind, name)
			}
		}
	}
	for kind, want := range map[corev1.NodeAddressType][]corev1.NodeAddress{
		ip: list(in, mine, in, "192.168.1.5", h, "edge-1"), dns: list(in, "192.168.1.5", h, "edge-1", d, mine), host: list(in, "192.168.1.5", h, mine),
	} {
		s := &Server{cfg: Config{Address: netip.MustParseAddr(mine), AddressType: kind, Hostname: true}}
		n := nodeWith("edge-1", 0, "192.168.1.5")
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: host, Address: "edge-1"})
		for range 2 {
			if s.setAddress(n, 30100); !slices.Equal(n.Status.Addresses, want) {
				t.Errorf("%s with host names: %v", kind, n.Status.Addresses)
			}
			n.Labels = map[string]string{RecordLabel: recordValue(netip.MustParseAddr(mine), 30100)}
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
