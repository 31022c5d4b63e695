package console

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
)

const (
	userFresh    = time.Minute      // how long the API server's word on a good token is used
	userRefused  = 10 * time.Second // and on a bad one
	allowedFresh = 30 * time.Second
	deniedFresh  = 10 * time.Second
	reviewTime   = 5 * time.Second // how long the API server may take to answer one review
	reviewRate   = 10              // TokenReviews a second for one network's clients
	reviewBurst  = 50
	maxNetworks  = 1024 // that are remembered; one more forgets all
	// maxNamespaces is in how many namespaces a user's rights are asked for one list.
	maxNamespaces = 200
	reviewsAtOnce = 8  // SubjectAccessReviews of one list
	askRate       = 50 // SubjectAccessReviews a second for one user
	askBurst      = 500
	maxAskers     = 4096 // users that are remembered; one more forgets all
)

// who is a user and the token that the user gave.
type who struct {
	user    authenticationv1.UserInfo
	token   string
	session string // the id of the session; "" of a bearer
}

// users asks the API server who users are and what they may. The cost of strangers is bounded:
// one token is reviewed once at a time, answers are used again, and each network has a rate.
type users struct {
	reviewer *auth.Reviewer
	rights   *auth.Rights
	log      *slog.Logger
	asked    singleflight.Group

	mu      sync.Mutex
	good    auth.Cache[[sha256.Size]byte, authenticationv1.UserInfo] // by the hash of their token
	bad     auth.Cache[[sha256.Size]byte, struct{}]
	senders map[netip.Prefix]*rate.Limiter
	askers  map[string]*rate.Limiter // by name of the user
}

func newUsers(cloud kubernetes.Interface, log *slog.Logger) *users {
	u := &users{reviewer: auth.NewReviewer(cloud), log: log, askers: make(map[string]*rate.Limiter)}
	u.rights = &auth.Rights{Cloud: cloud, AllowedFresh: allowedFresh, DeniedFresh: deniedFresh, Logger: log, Limit: u.mayAsk}
	return u
}

var (
	errLogin   = &apiError{http.StatusUnauthorized, "log in: there is no session, or it is over"}
	errUnknown = &apiError{http.StatusUnauthorized, "the API server does not know the token, or it has expired: log in with a new one"}
	errBusy    = &apiError{http.StatusTooManyRequests, "too many users log in at a time: try again"}
	errAsks    = &apiError{http.StatusTooManyRequests, "you look at too many things at a time: try again in a few seconds"}
	errAway    = &apiError{http.StatusServiceUnavailable, "the API server does not answer: try again in a few seconds"}
	errFailed  = &apiError{http.StatusServiceUnavailable, "the API server could not answer the request: try again in a few seconds"}
)

// identify finds the user of a request. used counts it as a use of the session.
func (s *Server) identify(r *http.Request, used bool) (who, error) {
	if r.Header.Get("Authorization") != "" {
		token := auth.BearerToken(r)
		if !tokenForm(token) {
			return who{}, fail(http.StatusUnauthorized, "the header Authorization has no bearer token")
		}
		user, err := s.users.of(r.Context(), token, r.RemoteAddr)
		return who{user: user, token: token}, err
	}
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return who{}, errLogin
	}
	token, ok := s.sessions.token(c.Value, used)
	if !ok {
		return who{}, errLogin
	}
	user, err := s.users.of(r.Context(), token, "")
	if errors.Is(err, errUnknown) {
		s.sessions.remove(c.Value)
	}
	return who{user, token, c.Value}, err
}

// of returns the user of a token that came from an address; "" for that of a session, which was
// reviewed at the login and counts for no network: strangers behind the same proxy cannot keep
// its user out.
func (u *users) of(ctx context.Context, token, from string) (user authenticationv1.UserInfo, err error) {
	key := sha256.Sum256([]byte(token))
	for {
		now := time.Now()
		u.mu.Lock()
		known, good := u.good.Get(key, now)
		_, bad := u.bad.Get(key, now)
		u.mu.Unlock()
		switch {
		case good:
			return known, nil
		case bad:
			return user, errUnknown
		}
		got, err, _ := u.asked.Do(string(key[:]), func() (any, error) { return u.review(ctx, token, key, from) })
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			continue // the client that asked first has gone
		}
		if err != nil {
			return user, err
		}
		return got.(authenticationv1.UserInfo), nil
	}
}

func (u *users) review(ctx context.Context, token string, key [sha256.Size]byte, from string) (user authenticationv1.UserInfo, err error) {
	if from != "" && !u.sender(from).Allow() {
		return user, errBusy
	}
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	status, err := u.reviewer.Review(ctx, token)
	switch {
	case errors.Is(err, context.Canceled):
		return user, err
	case errors.Is(err, auth.ErrBusy):
		return user, errBusy
	case err != nil:
		u.log.Warn("the API server does not review a token", "from", from, "err", err) // the client learns no address of it
		return user, errAway
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if !status.Authenticated {
		u.bad.Put(key, struct{}{}, time.Now().Add(userRefused))
		return user, errUnknown
	}
	u.good.Put(key, status.User, time.Now().Add(userFresh))
	return status.User, nil
}

// sender is the rate of an address's network.
func (u *users) sender(from string) *rate.Limiter {
	var network netip.Prefix
	if addr, err := netip.ParseAddrPort(from); err == nil {
		ip := addr.Addr().Unmap().WithZone("")
		bits := 64
		if ip.Is4() {
			bits = 24
		}
		network, _ = ip.Prefix(bits)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.senders == nil || len(u.senders) >= maxNetworks && u.senders[network] == nil {
		u.senders = make(map[netip.Prefix]*rate.Limiter)
	}
	if u.senders[network] == nil {
		u.senders[network] = rate.NewLimiter(reviewRate, reviewBurst)
	}
	return u.senders[network]
}

// mayAsk counts a SubjectAccessReview for a user. Without a limit a user could ask about new
// names without end, and use up what the API server allows cloudcore.
func (u *users) mayAsk(user string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.askers[user] == nil {
		if len(u.askers) >= maxAskers {
			clear(u.askers)
		}
		u.askers[user] = rate.NewLimiter(askRate, askBurst)
	}
	if !u.askers[user].Allow() {
		return errAsks
	}
	return nil
}

// may reports whether a user has a right.
func (s *Server) may(ctx context.Context, w who, right authorizationv1.ResourceAttributes) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTime)
	defer cancel()
	ok, err := s.users.rights.Allowed(ctx, w.user, right)
	switch {
	case errors.Is(err, errAsks):
		return false, errAsks
	case err != nil:
		return false, errAway
	}
	return ok, nil
}

// must returns an error that names the right if the user does not have it.
func (s *Server) must(ctx context.Context, w who, right authorizationv1.ResourceAttributes) error {
	ok, err := s.may(ctx, w, right)
	if err != nil {
		return err
	}
	if !ok {
		return denied(w, right)
	}
	return nil
}

func denied(w who, right authorizationv1.ResourceAttributes) error {
	what := right.Resource
	if right.Subresource != "" {
		what += "/" + right.Subresource
	}
	if right.Group != "" {
		what += "." + right.Group
	}
	where := "in the cluster"
	if right.Namespace != "" {
		where = "in namespace " + right.Namespace
	}
	return fail(http.StatusForbidden, "user %q may not %s %s %s", w.user.Username, right.Verb, what, where)
}

// scope is where a user may list a resource: everywhere, or in some namespaces.
type scope struct {
	all bool
	in  map[string]bool
}

func (s scope) has(namespace string) bool { return s.all || s.in[namespace] }

// scopeOf finds in which namespaces a user may list a resource: the one that is asked for, or
// those that have objects. It is an error to have the right nowhere.
func (s *Server) scopeOf(ctx context.Context, w who, right authorizationv1.ResourceAttributes, asked string, having func() []string) (scope, error) {
	right.Namespace = asked
	if asked != "" {
		return scope{in: map[string]bool{asked: true}}, s.must(ctx, w, right)
	}
	ok, err := s.may(ctx, w, right)
	if err != nil || ok {
		return scope{all: ok}, err
	}
	names := having()
	if len(names) > maxNamespaces {
		return scope{}, fail(http.StatusForbidden, "user %q may not %s %s in the cluster, and there are too many namespaces to look at each: choose one", w.user.Username, right.Verb, right.Resource)
	}
	answers := make([]bool, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(reviewsAtOnce)
	for i, namespace := range names {
		g.Go(func() (err error) {
			one := right
			one.Namespace = namespace
			answers[i], err = s.may(gctx, w, one)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return scope{}, err
	}
	if !slices.Contains(answers, true) {
		return scope{}, denied(w, right)
	}
	in := make(map[string]bool)
	for i, namespace := range names {
		in[namespace] = answers[i]
	}
	return scope{in: in}, nil
}
