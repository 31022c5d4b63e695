package nodenet

import (
	"fmt"
	"net"
	"net/netip"
)

// Plan is the addressing of one node's network.
type Plan struct {
	Link netip.Prefix `json:"link"` // the cable, a /30
	Pods netip.Prefix `json:"pods"` // the node's pods, a /24
}

// Host is the host's address on the cable.
func (p Plan) Host() netip.Addr { return p.Link.Addr().Next() }

// Node is the node's address on the cable.
func (p Plan) Node() netip.Addr { return p.Host().Next() }

// Choose finds a plan that collides with no address of this host. start says
// where to begin looking, so that two clusters rarely try the same one.
func Choose(start uint8) (Plan, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return Plan{}, fmt.Errorf("nodenet: %w", err)
	}
	var used []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			used = append(used, p)
		}
	}
	routes, err := hostRoutes()
	if err != nil {
		return Plan{}, err
	}
	return choose(start, append(used, routes...))
}

func choose(start uint8, used []netip.Prefix) (Plan, error) {
	for i := range 256 {
		n := start + uint8(i)
		plan := Plan{
			Link: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 213, n, 0}), 30),
			Pods: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 214, n, 0}), 24),
		}
		free := true
		for _, u := range used {
			free = free && !u.Overlaps(plan.Link) && !u.Overlaps(plan.Pods)
		}
		if free {
			return plan, nil
		}
	}
	return Plan{}, fmt.Errorf("nodenet: every network of 10.213.0.0/16 and 10.214.0.0/16 is in use on this host")
}
