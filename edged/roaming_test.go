package edged_test

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/edged"
)

// TestHostNetworkFollowsAddress: a machine changes networks. The addresses in the status
// of its pods follow without another event.
func TestHostNetworkFollowsAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		cfg := b.config()
		cfg.NodeIPs = nil
		var address atomic.Pointer[netip.Addr]
		move := func(text string) {
			ip := netip.MustParseAddr(text)
			address.Store(&ip)
		}
		move("192.0.2.7")
		cfg.OutboundIP = func() (netip.Addr, error) { return *address.Load(), nil }
		agent, err := edged.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- agent.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}()
		host, own := newPod("host", busybox("serve")), newPod("own", busybox("serve"))
		host.Spec.HostNetwork = true
		b.put(host)
		b.put(own)
		settle(5 * time.Second)
		move("198.51.100.4")
		settle(11 * time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		if st := b.status[host.UID]; st.HostIP != "198.51.100.4" || st.PodIP != "198.51.100.4" || len(st.HostIPs) != 1 || len(st.PodIPs) != 1 {
			t.Errorf("a pod in the host's network says host %s, pod %s", st.HostIP, st.PodIP)
		}
		if st := b.status[own.UID]; st.HostIP != "198.51.100.4" || st.PodIP == "198.51.100.4" {
			t.Errorf("a pod with a network of its own says host %s, pod %s", st.HostIP, st.PodIP)
		}
	})
}
