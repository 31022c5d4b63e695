package apiserver

import (
	"fmt"
	"net"
	"net/netip"
)

// EnsureAddress has the machine own an address of its own, by which its pods reach Config.Listen.
// An address that an interface has is fine. A link-local one of IPv4 (169.254.0.0/16) that no
// interface has is added to the loopback interface, in the network namespace of the caller's
// thread, which needs root (CAP_NET_ADMIN) and Linux. It is not removed again: pods know it.
// Pods reach it through their default route; it has no meaning on the network of the node. Any
// other address that no interface has is an error.
func EnsureAddress(addr netip.Addr) error {
	addr = addr.Unmap()
	if addr.IsLoopback() {
		return nil
	}
	all, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("meta/apiserver: %w", err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if have, _ := netip.AddrFromSlice(n.IP); have.Unmap() == addr {
				return nil
			}
		}
	}
	if !addr.Is4() || !addr.IsLinkLocalUnicast() {
		return fmt.Errorf("meta/apiserver: no interface of this machine has the address %s", addr)
	}
	if err := addToLoopback(addr); err != nil {
		return fmt.Errorf("meta/apiserver: address %s cannot be added to the loopback interface: %w", addr, err)
	}
	return nil
}
