package hubbench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/hubbench/processtest"
)

// TestRestMeasured prints how many bytes an idle node sends and receives. The server is
// here, the node in a network namespace of its own, and a virtual cable connects them:
// the kernel counts its bytes, from the Ethernet header on.
func TestRestMeasured(t *testing.T) {
	if os.Getenv("BENCH") == "" {
		t.Skip("a measurement of minutes: set BENCH=1")
	}
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	keepalive := time.Duration(number(t, "KEEPALIVE", 30)) * time.Second
	for i, transport := range []string{"quic", "ws"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			c := newCable(t, i)
			f := connectOver(t, c, transport, keepalive)
			// QUIC searches for the path's MTU while there is something to send. After
			// these objects it has ended.
			f.deliver(Delivery{Objects: 200, Rate: 50})
			<-time.After(5 * time.Second) // past the last acknowledgement
			// An interval of this length has exactly this many keepalives, wherever it
			// begins.
			const keepalives = 4
			before := c.bytes()
			<-time.After(keepalives * keepalive)
			each := float64(c.bytes()-before) / keepalives
			if n := f.nodes(); n.Sessions != 1 {
				t.Fatalf("%d sessions where one was to rest", n.Sessions)
			}
			t.Logf("connecting and 200 objects took %d bytes, each keepalive %.0f", before, each)
			day := each * (24 * time.Hour).Seconds() / keepalive.Seconds()
			result("rest_mb_per_day_"+transport, day/1e6, "MB")
		})
	}
}

// connectOver runs a server and one node at the ends of the cable.
func connectOver(t *testing.T, c *cable, transport string, keepalive time.Duration) *fleet {
	t.Helper()
	cert, key := authority(t)
	f := &fleet{t: t, plan: fleetPlan{transport: transport, nodes: 1}, cfg: CloudConfig{
		Transport: transport, Hosts: []string{c.near}, CertPEM: cert, KeyPEM: key, Nodes: 1, Objects: 4,
	}}
	f.serve()
	p := processtest.Start(t, processtest.Config{Role: "crew", By: []string{"ip", "netns", "exec", c.namespace}})
	p.Call("Start", CrewConfig{
		Transport: transport, Host: c.near, Port: f.cfg.Port, Own: c.far, CertPEM: f.cfg.CertPEM, KeyPEM: key,
		Nodes: 1, Objects: 4, Keepalive: keepalive, Dials: 1,
	}, &struct{}{})
	f.crews = []*processtest.Process{p}
	if _, n := f.await(1, time.Minute); n == 0 {
		t.Fatal("the node does not connect")
	}
	return f
}

// cable is a pair of virtual Ethernet devices, one end here and one in a
// namespace.
type cable struct {
	t         testing.TB
	namespace string
	device    string // this end
	near, far string // addresses of the ends
}

// newCable makes the i-th cable of this process, until the test ends.
func newCable(t testing.TB, i int) *cable {
	t.Helper()
	// Addresses for benchmarks (RFC 2544), which no real network has.
	c := &cable{
		t: t, namespace: fmt.Sprintf("hubbench-%d-%d", os.Getpid(), i), device: fmt.Sprintf("hb%d-%d", os.Getpid(), i),
		near: fmt.Sprintf("198.18.%d.%d", os.Getpid()%256, 4*i+1), far: fmt.Sprintf("198.18.%d.%d", os.Getpid()%256, 4*i+2),
	}
	peer := c.device + "p"
	c.ip("netns", "add", c.namespace)
	t.Cleanup(func() { c.ip("netns", "del", c.namespace) }) // and the cable with it
	c.ip("link", "add", c.device, "type", "veth", "peer", "name", peer, "netns", c.namespace)
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", c.device).Run() })
	for _, args := range [][]string{
		{"link", "set", c.device, "addrgenmode", "none", "up"}, // no IPv6, which looks around by itself
		{"addr", "add", c.near + "/30", "dev", c.device},
		{"-n", c.namespace, "link", "set", peer, "addrgenmode", "none", "up"},
		{"-n", c.namespace, "addr", "add", c.far + "/30", "dev", peer},
	} {
		c.ip(args...)
	}
	return c
}

func (c *cable) ip(args ...string) {
	c.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		c.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// bytes is what has passed so far, both ways together.
func (c *cable) bytes() int64 {
	c.t.Helper()
	sum := int64(0)
	for _, way := range []string{"rx_bytes", "tx_bytes"} {
		b, err := os.ReadFile(filepath.Join("/sys/class/net", c.device, "statistics", way))
		if err != nil {
			c.t.Fatal(err)
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			c.t.Fatal(err)
		}
		sum += n
	}
	return sum
}
