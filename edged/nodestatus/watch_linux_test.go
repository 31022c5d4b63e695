package nodestatus

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// aloneEnv has TestFollowAddresses run in a network of its own.
const aloneEnv = "EDGED_TEST_ALONE"

// reportedNodes keeps the newest report, and wakes who waits for one.
type reportedNodes struct {
	mu   sync.Mutex
	last *corev1.Node
	wake chan struct{}
}

func (r *reportedNodes) Node(_ context.Context, n *corev1.Node) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = n
	close(r.wake)
	r.wake = make(chan struct{})
	return nil
}

// await waits until the node reports these InternalIPs.
func (r *reportedNodes) await(t *testing.T, want ...string) {
	t.Helper()
	for {
		r.mu.Lock()
		var got []string
		if r.last != nil {
			for _, a := range r.last.Status.Addresses {
				if a.Type == corev1.NodeInternalIP {
					got = append(got, a.Address)
				}
			}
		}
		wake := r.wake
		r.mu.Unlock()
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-wake:
		case <-t.Context().Done():
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

// TestFollowAddresses changes the addresses of a machine: one family, two, a new address, a
// new network, and none. The node is looked at once an hour, so it is the kernel that says so.
func TestFollowAddresses(t *testing.T) {
	if os.Getenv(aloneEnv) == "" {
		if os.Geteuid() != 0 {
			t.Skip("needs root, for a network of its own")
		}
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestFollowAddresses$", "-test.v")
		cmd.Env = append(os.Environ(), aloneEnv+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			if strings.Contains(err.Error(), "operation not permitted") {
				t.Skip(err)
			}
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	ip := func(line string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Skipf("ip %s: %v: %s", line, err, out)
		}
	}
	ip("link set lo up")
	ip("link add v0 type veth peer name v1")
	ip("link set v1 up")
	ip("link set v0 up")
	ip("addr add 10.1.0.1/24 dev v0")
	ip("route add default dev v0")
	for name, tt := range map[string]struct {
		ips  string
		both bool
	}{"default route": {"", false}, "both families": {"0.0.0.0,::", true}} {
		t.Run(name, func(t *testing.T) {
			var ips []netip.Addr
			for text := range strings.SplitSeq(tt.ips, ",") {
				if text != "" {
					ips = append(ips, netip.MustParseAddr(text))
				}
			}
			reports := &reportedNodes{wake: make(chan struct{})}
			n, err := New(Config{NodeName: "edge", Root: t.TempDir(), Runtime: healthy{}, Reports: reports, NodeIPs: ips, WatchAddresses: true, Interval: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- n.Run(ctx) }()
			reports.await(t, "10.1.0.1")
			want := []string{"10.1.0.1"}
			if tt.both {
				ip("addr add fd00:1::1/64 dev v0 nodad")
				want = append(want, "fd00:1::1")
				reports.await(t, want...)
			}
			ip("addr add 10.2.0.1/24 dev v0")
			ip("addr del 10.1.0.1/24 dev v0")
			ip("route replace default dev v0 src 10.2.0.1")
			want[0] = "10.2.0.1"
			reports.await(t, want...)
			ip("link set v0 down") // no network: the last addresses stay
			ip("link set v0 up")
			ip("addr replace 10.1.0.1/24 dev v0")
			ip("addr del 10.2.0.1/24 dev v0")
			ip("route replace default dev v0 src 10.1.0.1")
			reports.await(t, "10.1.0.1") // the kernel has removed the IPv6 address
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}
