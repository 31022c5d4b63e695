package kubeletproxy

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
)

const (
	tokenFresh   = 2 * time.Minute  // how long the API server's word on a good token is kept
	tokenRefused = 10 * time.Second // and on a bad one
	reviewTime   = 10 * time.Second // of one TokenReview
	reviewRate   = 5                // TokenReviews a second for one network's clients
	reviewBurst  = 20
	maxReviewers = 1024 // networks that are remembered; one more forgets all
)

// Reasons for which a token is refused. Anybody can get these answers, so they reveal nothing
// about the API server.
var (
	errTokenForm    = errors.New("unauthorized: the bearer token is not a JSON Web Token of at most 16 KiB")
	errTokenUnknown = errors.New("unauthorized: the API server does not know the token")
	errNoReview     = errors.New("unauthorized: the API server does not review the token")
	errBusy         = auth.ErrBusy
)

// tokens asks the API server for the users of tokens (TokenReview). Anybody can send a token,
// so the cost is bounded: the form is checked first, answers are cached, one token is reviewed
// once at a time, and each network has a rate.
type tokens struct {
	reviewer *auth.Reviewer
	log      *slog.Logger
	asked    singleflight.Group
	now      func() time.Time

	mu      sync.Mutex
	good    auth.Cache[[sha256.Size]byte, authenticationv1.UserInfo]
	bad     auth.Cache[[sha256.Size]byte, struct{}]
	senders map[netip.Prefix]*rate.Limiter
}

func newTokens(cloud kubernetes.Interface, log *slog.Logger) *tokens {
	return &tokens{reviewer: auth.NewReviewer(cloud), log: log, now: time.Now}
}

// user finds the user of a token that came from an address.
func (t *tokens) user(ctx context.Context, token, from string) (user authenticationv1.UserInfo, err error) {
	if !tokenForm(token) {
		return user, errTokenForm
	}
	key := sha256.Sum256([]byte(token))
	for {
		t.mu.Lock()
		u, good := t.good.Get(key, t.now())
		_, bad := t.bad.Get(key, t.now())
		t.mu.Unlock()
		switch {
		case good:
			return u, nil
		case bad:
			return user, errTokenUnknown
		}
		got, err, _ := t.asked.Do(string(key[:]), func() (any, error) { return t.review(ctx, token, key, from) })
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			continue // the client that asked first has gone
		}
		if err != nil {
			return user, err
		}
		return got.(authenticationv1.UserInfo), nil
	}
}

// tokenForm reports whether a token has the form of a service account's: a JSON Web Token (RFC
// 7519), three parts of base64url. Other tokens are refused without a TokenReview.
func tokenForm(token string) bool {
	if len(token) > auth.MaxToken || strings.Count(token, ".") != 2 {
		return false
	}
	for part := range strings.SplitSeq(token, ".") {
		if part == "" {
			return false
		}
	}
	return strings.Trim(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
}

// review asks the API server.
func (t *tokens) review(ctx context.Context, token string, key [sha256.Size]byte, from string) (user authenticationv1.UserInfo, err error) {
	if !t.sender(from).AllowN(t.now(), 1) {
		return user, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	status, err := t.reviewer.Review(ctx, token)
	if errors.Is(err, context.Canceled) || errors.Is(err, errBusy) {
		return user, err
	}
	if err != nil {
		t.log.Warn("the API server does not review a token", "from", from, "err", err)
		return user, errNoReview
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !status.Authenticated {
		t.bad.Put(key, struct{}{}, t.now().Add(tokenRefused))
		return user, errTokenUnknown
	}
	t.good.Put(key, status.User, t.now().Add(tokenFresh))
	return status.User, nil
}

// sender is the rate of an address's network.
func (t *tokens) sender(from string) *rate.Limiter {
	var network netip.Prefix
	if addr, err := netip.ParseAddrPort(from); err == nil {
		network = networkOf(net.TCPAddrFromAddrPort(addr))
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.senders == nil || len(t.senders) >= maxReviewers && t.senders[network] == nil {
		t.senders = make(map[netip.Prefix]*rate.Limiter)
	}
	if t.senders[network] == nil {
		t.senders[network] = rate.NewLimiter(reviewRate, reviewBurst)
	}
	return t.senders[network]
}
