package delegated

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/time/rate"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
)

const (
	allowedFresh = 10 * time.Second // how long a yes of the API server counts
	deniedFresh  = 10 * time.Second
	reviewRate   = 5 // TokenReviews a second
	reviewBurst  = 10
)

// Config sets up a Guard. Cloud is required.
type Config struct {
	Cloud  kubernetes.Interface // cloudcore's own identity: to ask who a user is and what it may do
	Logger *slog.Logger         // nil discards
}

// Guard lets users of the cluster through. Its methods may be called by several goroutines at once.
type Guard struct {
	log      *slog.Logger
	reviewer *auth.Reviewer
	rights   *auth.Rights
	limit    *rate.Limiter
}

// New checks the configuration.
func New(cfg Config) (*Guard, error) {
	if cfg.Cloud == nil {
		return nil, errors.New("delegated: Config.Cloud is required: a client of the API server")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Guard{
		log: cfg.Logger, reviewer: auth.NewReviewer(cfg.Cloud), limit: rate.NewLimiter(reviewRate, reviewBurst),
		rights: &auth.Rights{Cloud: cfg.Cloud, AllowedFresh: allowedFresh, DeniedFresh: deniedFresh, Logger: cfg.Logger},
	}, nil
}

// Protect serves h to those who have the right: the verb of the method in lower case on the path as a
// non-resource URL.
func (g *Guard) Protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS == nil && !local(r.RemoteAddr) {
			http.Error(w, "a token must not travel in plain text: ask from this machine, for example through kubectl port-forward", http.StatusForbidden)
			return
		}
		if status, err := g.check(r); err != nil {
			if status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", "Bearer")
			}
			http.Error(w, err.Error(), status)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// check returns nil if the request may be served, else the status and the text of the answer.
func (g *Guard) check(r *http.Request) (status int, err error) {
	token := auth.BearerToken(r)
	switch {
	case token == "" || len(token) > auth.MaxToken:
		return http.StatusUnauthorized, fmt.Errorf("send a bearer token of at most %d KiB: kubectl create token SERVICEACCOUNT makes one", auth.MaxToken>>10)
	case !g.limit.Allow():
		return http.StatusTooManyRequests, auth.ErrBusy
	}
	review, err := g.reviewer.Review(r.Context(), token)
	if errors.Is(err, auth.ErrBusy) {
		return http.StatusTooManyRequests, err
	}
	if err != nil {
		g.log.Warn("the API server does not review a token", "err", err)
		return http.StatusServiceUnavailable, errors.New("the API server does not review the token: try again")
	}
	if !review.Authenticated {
		return http.StatusUnauthorized, errors.New("the API server does not know the token")
	}
	verb := strings.ToLower(r.Method)
	ok, err := g.rights.AllowedURL(r.Context(), review.User, authorizationv1.NonResourceAttributes{Path: r.URL.Path, Verb: verb})
	if err != nil {
		return http.StatusServiceUnavailable, err
	}
	if !ok {
		return http.StatusForbidden, fmt.Errorf("user %q needs the right to %s the non-resource URL %s", review.User.Username, verb, r.URL.Path)
	}
	g.log.Info("a user of the cluster is served", "user", review.User.Username, "path", r.URL.Path)
	return http.StatusOK, nil
}

// local reports whether an address is of this machine.
func local(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().Unmap().IsLoopback()
}
