package join

import (
	"context"
	"crypto"
	"errors"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// Applicant is a machine whose join waits until an operator approves it. Its token was
// valid, and it has proved that it has the key.
type Applicant struct {
	Node    string // the name that it asks for
	KeyHash string // of its key, as KeyHash gives it
	CSR     string // PEM, signed with the key
	Address string // the IP address that it asks from, which may be a load balancer's
	Machine string // what it says of its hardware, which is not verified; may be empty
	Token   string // the ID of its token
}

// Approvals is the store of joins that wait for an operator. Its methods may be called
// at the same time, also by several clouds. The Handler claims the name, and uses the
// token, before it calls Approved: so a name has one applicant, and a token makes one.
type Approvals interface {
	// Applied reports whether Approved was called for the name and the key, and the key
	// still has the name. It stays so when the token is over.
	Applied(ctx context.Context, node, keyHash string) (bool, error)
	// Approved records the applicant. It returns nil when an operator has approved it,
	// also when that was long ago; else an error that is ErrPending, one that is
	// ErrRevoked when an operator has denied it, or one that is ErrBusy when too many
	// wait. A key that was denied is revoked, and its name is free. For a key that does
	// not have the name the error is ErrNameInUse.
	Approved(ctx context.Context, a Applicant) error
}

const (
	// pendingRetryMin and pendingRetryMax bound the waits of JoinWhenApproved.
	pendingRetryMin = 5 * time.Second
	pendingRetryMax = 5 * time.Minute
	// maxMachine bounds Request.Machine, in bytes.
	maxMachine = 128
)

// JoinWhenApproved is JoinWithKey, but while the cloud answers that the join waits for
// an operator (ErrPending) it asks again, for as long as ctx lasts: after 5 s at first,
// after 5 minutes in the end. Once the join waits, a cloud that cannot be reached or is
// busy is asked again too. waiting, if not nil, is called before each wait. After a
// restart of the machine the same call, with the same key and token, goes on waiting.
func JoinWhenApproved(ctx context.Context, req Request, key crypto.Signer, waiting func(why error, next time.Duration)) (Credentials, error) {
	pending := false
	for attempt := 0; ; attempt++ {
		c, err := JoinWithKey(ctx, req, key)
		pending = pending || errors.Is(err, ErrPending)
		if err == nil || !pending || !mayPass(err) {
			return c, err
		}
		wait := min(pendingRetryMin<<min(attempt, 16), pendingRetryMax)
		wait = wait/2 + mathrand.N(wait/2)
		if waiting != nil {
			waiting(err, wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return Credentials{}, ctx.Err()
		}
	}
}

// mayPass reports whether a join that failed so may succeed later.
func mayPass(err error) bool {
	for _, e := range []error{ErrPending, ErrBusy, ErrUnreachable, ErrServer} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// host is the address without its port.
func host(addr string) string {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return ap.Addr().Unmap().String()
	}
	return addr
}

// printable is at most most bytes of s, without what a terminal would act upon.
func printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
	for len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
