package access

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/edgekit/edgekit/bus/broker"
)

const (
	maxToken      = 16 << 10         // bytes of a token
	refusedTime   = 10 * time.Second // how long a refusal is remembered
	maxRefused    = 1024             // refusals that are remembered; one more forgets all
	failureRate   = 1                // wrong passwords a second for one address
	failureBurst  = 20
	maxAddresses  = 1024 // addresses that are remembered; one more forgets all
	addressV6Bits = 64   // one client may have all addresses of such a network
)

// limits bound what wrong passwords and tokens cost.
type limits struct {
	key   [32]byte      // of keyed hashes: passwords are not kept
	slots chan struct{} // one for each check under way

	mu        sync.Mutex
	refused   map[[sha256.Size]byte]refusal
	addresses map[netip.Prefix]*rate.Limiter
}

type refusal struct {
	err   error
	until time.Time
}

func (l *limits) init() {
	rand.Read(l.key[:]) // never fails
	l.slots = make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))
	l.refused = make(map[[sha256.Size]byte]refusal)
	l.addresses = make(map[netip.Prefix]*rate.Limiter)
}

// sum is the keyed hash of a user and its password.
func (l *limits) sum(user string, password []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, l.key[:])
	h.Write([]byte(user))
	h.Write([]byte{0})
	h.Write(password)
	h.Sum(sum[:0])
	return sum
}

// check calls slow, which takes long, unless what it would say is known or the client's
// address has sent too much that was wrong.
func (l *limits) check(ctx context.Context, sum [sha256.Size]byte, remote net.Addr, slow func() error) error {
	address := l.address(remote)
	if err := l.known(sum, address); err != nil {
		return err
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return errBusy
	}
	if err := l.known(sum, address); err != nil { // another connection has tried it meanwhile
		return err
	}
	err := slow()
	if err != nil && ctx.Err() == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		address.Allow()
		if len(l.refused) >= maxRefused {
			clear(l.refused)
		}
		l.refused[sum] = refusal{err, time.Now().Add(refusedTime)}
	}
	return err
}

// known returns why a login is refused without a check; nil if it has to be checked.
func (l *limits) known(sum [sha256.Size]byte, address *rate.Limiter) error {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if r, ok := l.refused[sum]; ok && now.Before(r.until) {
		return r.err
	}
	if address.TokensAt(now) < 1 {
		return errBusy
	}
	return nil
}

// forget drops all refusals: the users have changed.
func (l *limits) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.refused)
}

// address returns what limits an address.
func (l *limits) address(remote net.Addr) *rate.Limiter {
	var network netip.Prefix
	if tcp, ok := remote.(*net.TCPAddr); ok {
		ip := tcp.AddrPort().Addr().Unmap().WithZone("")
		bits := ip.BitLen()
		if ip.Is6() {
			bits = addressV6Bits
		}
		network, _ = ip.Prefix(bits) // the bits fit the address
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.addresses[network] == nil {
		if len(l.addresses) >= maxAddresses {
			clear(l.addresses)
		}
		l.addresses[network] = rate.NewLimiter(failureRate, failureBurst)
	}
	return l.addresses[network]
}

// checkPassword checks the password of a user of the file.
func (a *Access) checkPassword(ctx context.Context, s *state, login broker.Login) error {
	if len(login.Username) > maxName || len(login.Password) > maxPassword {
		return broker.ErrPassword
	}
	sum := a.limits.sum(login.Username, login.Password)
	user := s.users[login.Username]
	if user != nil {
		if good := user.good.Load(); good != nil && hmac.Equal(good[:], sum[:]) {
			return nil
		}
	}
	return a.limits.check(ctx, sum, login.Remote, func() error {
		if user == nil { // takes the same time as for a user, so that nobody learns who is one
			for _, other := range s.users {
				other.check(login.Password)
				break
			}
			return broker.ErrPassword
		}
		if !user.check(login.Password) {
			return broker.ErrPassword
		}
		user.good.Store(&sum)
		return nil
	})
}

// checkToken returns the user of a token.
func (a *Access) checkToken(ctx context.Context, login broker.Login) (name string, err error) {
	err = a.limits.check(ctx, a.limits.sum("", login.Password), login.Remote, func() error {
		name, err = a.cfg.Token(ctx, string(login.Password), login.Remote)
		return err
	})
	return name, err
}

// tokenForm reports whether a password has the form of a JSON Web Token (RFC 7519): three
// parts of base64url.
func tokenForm(password []byte) bool {
	if len(password) > maxToken {
		return false
	}
	dots, length := 0, 0
	for _, c := range password {
		switch {
		case c == '.' && length > 0:
			dots++
			length = 0
		case c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '-', c == '_':
			length++
		default:
			return false
		}
	}
	return dots == 2 && length > 0
}
