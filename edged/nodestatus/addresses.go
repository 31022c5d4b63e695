package nodestatus

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// findAddresses finds the node's addresses, again each time unless they are
// configured: machines at the edge move between networks. One without a network
// keeps the addresses that it had, since its pods do.
func (n *Reporter) findAddresses() {
	if len(n.cfg.NodeIPs) > 0 {
		var ips []string
		for _, ip := range n.cfg.NodeIPs {
			ips = append(ips, ip.String())
		}
		n.setAddresses(ips)
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

// outboundIP is the address that this machine uses towards the internet: that of
// the default route or, without one, the first global address of an interface. A
// machine without a network has none.
func outboundIP() (netip.Addr, error) {
	// Connecting a datagram socket chooses a route and sends nothing. The
	// addresses are reserved for documentation.
	for _, far := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		conn, err := net.Dial("udp", far)
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
		ip = ip.Unmap()
		if ip.IsGlobalUnicast() {
			return ip, nil
		}
	}
	return netip.Addr{}, errors.New("edged: this machine has no address but loopback")
}
