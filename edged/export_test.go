package edged

import "net/netip"

// SetOutbound has an Agent that does not run yet take its address from f.
func (a *Agent) SetOutbound(f func() (netip.Addr, error)) { a.node.outbound = f }
