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
	// reserveEvery is the same for Handler.reserve.
	reserveEvery = 100 * time.Millisecond
	// limitSlots bounds the memory: addresses share slots by their hash.
	limitSlots = 4096
)

// limiter counts failures by address, or by another key. Its memory does not grow,
// whatever the number of keys. Two keys may share a count, but an attacker cannot choose
// which, since the hash has a random seed.
type limiter struct {
	seed  maphash.Seed
	every time.Duration

	mu    sync.Mutex
	slots [limitSlots]limitSlot
}

type limitSlot struct {
	failures float64
	at       time.Time // to which failures are counted
}

func newLimiter(every time.Duration) *limiter {
	return &limiter{seed: maphash.MakeSeed(), every: every}
}

// over returns how long the key has to wait; 0 means that it need not.
func (l *limiter) over(key string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slotLocked(key, now)
	if s.failures <= limitBurst-1 {
		return 0
	}
	return time.Duration((s.failures - (limitBurst - 1)) * float64(l.every))
}

// failed counts a failure.
func (l *limiter) failed(key string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slotLocked(key, now)
	s.failures = min(s.failures+1, limitBurst)
}

func (l *limiter) slotLocked(key string, now time.Time) *limitSlot {
	s := &l.slots[maphash.String(l.seed, key)%limitSlots]
	if past := now.Sub(s.at); past > 0 {
		s.failures = max(0, s.failures-float64(past)/float64(l.every))
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
