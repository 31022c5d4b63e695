package join

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

const (
	// limitBurst is how many failures an address may have at once, and
	// limitEvery how soon one of them is forgiven. A token's secret has 130
	// random bits: the limit is to spare the API server, not the token.
	limitBurst = 20
	limitEvery = time.Second
	// limitSlots bounds the memory: addresses share slots by their hash.
	limitSlots = 4096
)

// limiter counts failures by address. Its memory does not grow, whatever the
// number of addresses; an address may suffer for another one, but an attacker
// cannot choose which, since the hash has a random seed.
type limiter struct {
	seed maphash.Seed

	mu    sync.Mutex
	slots [limitSlots]limitSlot
}

type limitSlot struct {
	failures float64
	at       time.Time // to which failures are counted
}

func newLimiter() *limiter { return &limiter{seed: maphash.MakeSeed()} }

// over says how long the address has to wait; 0 means that it may go on.
func (l *limiter) over(addr string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slotLocked(addr, now)
	if s.failures <= limitBurst-1 {
		return 0
	}
	return time.Duration((s.failures - (limitBurst - 1)) * float64(limitEvery))
}

// failed counts a failure.
func (l *limiter) failed(addr string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slotLocked(addr, now)
	s.failures = min(s.failures+1, limitBurst)
}

func (l *limiter) slotLocked(addr string, now time.Time) *limitSlot {
	s := &l.slots[maphash.String(l.seed, network(addr))%limitSlots]
	if past := now.Sub(s.at); past > 0 {
		s.failures = max(0, s.failures-float64(past)/float64(limitEvery))
	}
	s.at = now
	return s
}

// network is the address without its port, and without what one host may
// choose freely of an IPv6 address.
func network(addr string) string {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return addr
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
