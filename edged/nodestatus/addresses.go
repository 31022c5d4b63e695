package nodestatus

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// findAddresses finds the node's addresses, again each time unless they are
// configured: machines at the edge move between networks. One without a network
// keeps the addresses that it had, since its pods do.
func (n *Reporter) findAddresses() {
	if len(n.cfg.NodeIPs) > 0 {
		n.findFamilies()
		return
	}
	ip, err := n.cfg.OutboundIP()
	switch {
	case err == nil:
		n.setAddresses([]string{ip.String()})
	case len(n.Addresses()) == 0:
		n.log.Info("this machine has no network yet", "err", err)
		n.setAddresses([]string{loopbackIP})
	}
}

// findFamilies takes the configured addresses. In place of 0.0.0.0 and :: comes the address
// of that family that the machine uses now. A family that it does not use is left out; a
// machine without any network keeps the addresses that it had.
func (n *Reporter) findFamilies() {
	var ips []string
	for _, ip := range n.cfg.NodeIPs {
		if !ip.IsUnspecified() {
			ips = append(ips, ip.String())
		} else if found, err := n.familyIP(ip.Is4()); err == nil {
			ips = append(ips, found.String())
		}
	}
	switch {
	case len(ips) > 0:
		n.setAddresses(ips)
	case len(n.Addresses()) == 0:
		n.log.Info("this machine has no network of the families in Config.NodeIPs (--node-ip) yet")
		n.setAddresses([]string{loopbackIP})
	}
}

// followsMachine reports whether the kernel is to say when an address may have changed, which
// depends on the machine's interfaces and routes.
func (c Config) followsMachine() bool {
	return c.WatchAddresses && c.OutboundIP == nil && (len(c.NodeIPs) == 0 || slices.ContainsFunc(c.NodeIPs, netip.Addr.IsUnspecified))
}

// settleAddresses is how long a change of the interfaces is left alone: several come
// together, and the route comes last.
const settleAddresses = 500 * time.Millisecond

// followAddresses looks for the addresses again after each change of the machine's
// interfaces and routes, until ctx ends. Where the kernel cannot say so, they are found at
// each check of the node.
func (n *Reporter) followAddresses(ctx context.Context) {
	changes := make(chan struct{}, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		if err := watchAddresses(ctx, changes); err != nil && ctx.Err() == nil {
			n.log.Info("the kernel does not say when addresses change: they are looked at from time to time", "every", n.cfg.Interval, "err", err)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleAddresses):
		}
		select {
		case <-changes: // what came meanwhile
		default:
		}
		before := n.Addresses()
		n.findAddresses()
		if !slices.Equal(before, n.Addresses()) {
			n.CheckNow()
		}
	}
}

// setAddresses sets the node's addresses, the primary one first, and says so if
// they changed.
func (n *Reporter) setAddresses(ips []string) {
	n.mu.Lock()
	first, changed := n.ips == nil, !slices.Equal(n.ips, ips)
	n.ips = ips
	n.mu.Unlock()
	if changed && !first {
		n.log.Info("the node's addresses changed", "addresses", ips)
		n.cfg.AddressesChanged()
	}
}

// loopbackIP is the address of a node that never had another.
const loopbackIP = "127.0.0.1"

// restoreAddresses takes the addresses of the last report where the machine has
// none now.
func (n *Reporter) restoreAddresses() {
	if !slices.Equal(n.Addresses(), []string{loopbackIP}) {
		return
	}
	var ips []string
	for _, a := range n.last.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			ips = append(ips, a.Address)
		}
	}
	if len(ips) > 0 {
		n.setAddresses(ips)
	}
}

// Addresses are the node's addresses, the primary one first. They belong to the
// caller.
func (n *Reporter) Addresses() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.ips)
}

// Destinations on the internet, which choose a route. They are reserved for documentation.
const (
	far4 = "192.0.2.1:9"
	far6 = "[2001:db8::1]:9"
)

// outboundIP is the address that this machine uses towards the internet: that of
// the default route or, without one, the first global address of an interface. A
// machine without a network has none.
func outboundIP() (netip.Addr, error) {
	return localIP([]string{far4, far6}, func(netip.Addr) bool { return true })
}

// familyIP is outboundIP for one family of addresses.
func familyIP(is4 bool) (netip.Addr, error) {
	far := far6
	if is4 {
		far = far4
	}
	return localIP([]string{far}, func(ip netip.Addr) bool { return ip.Is4() == is4 })
}

// localIP is the address that this machine uses towards the first of far to which it has a
// route or, without any, the first global address of an interface that wanted accepts.
func localIP(far []string, wanted func(netip.Addr) bool) (netip.Addr, error) {
	for _, to := range far {
		conn, err := net.Dial("udp", to) // sends nothing
		if err != nil {
			continue
		}
		local, ok := conn.LocalAddr().(*net.UDPAddr)
		conn.Close()
		if ok && !local.IP.IsLoopback() && !local.IP.IsUnspecified() {
			return local.AddrPort().Addr().Unmap(), nil
		}
	}
	// No default route: a machine at the edge may still have a network of its own.
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("edged: %w", err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(n.IP)
		if ip = ip.Unmap(); ip.IsGlobalUnicast() && wanted(ip) {
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("edged: this machine has no address but loopback")
}
