package kubeletproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// ClientsConfig sets up Clients. Cloud is required; the other fields are those of Config.
type ClientsConfig struct {
	Cloud                                            kubernetes.Interface
	ClientCA                                         func(context.Context) ([]byte, error)
	MaxConnections                                   int // 0 means 2000
	MaxUnauthenticated, MaxUnauthenticatedPerNetwork int
	Logger                                           *slog.Logger
}

// Clients finds out who the clients of another port of cloudcore are and what they may, as a
// Server does for the nodes' endpoints: by client certificate or bearer token, and the API
// server's word. Its methods may be called by several goroutines at once.
type Clients struct {
	guard   runguard.Guard
	auth    *authenticator
	limiter *connLimiter
	cloud   kubernetes.Interface
	log     *slog.Logger

	mu        sync.Mutex
	decisions answerCache[string, bool]
}

// User is an authenticated client.
type User struct {
	Name   string
	UID    string
	Groups []string
	Extra  map[string]authenticationv1.ExtraValue
}

// Errors of Authenticate.
var (
	// ErrUnauthenticated is wrapped by the error for a client that is nobody.
	ErrUnauthenticated = errors.New("unauthorized")
	// ErrBusy is returned while too many tokens are being reviewed.
	ErrBusy = errBusy
)

// NewClients checks cfg. Nothing happens until Run.
func NewClients(cfg ClientsConfig) (*Clients, error) {
	if cfg.Cloud == nil {
		return nil, errors.New("kubeletproxy: ClientsConfig.Cloud is required")
	}
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&cfg.MaxConnections, 2000)
	def(&cfg.MaxUnauthenticated, 512)
	def(&cfg.MaxUnauthenticatedPerNetwork, 128)
	if cfg.ClientCA == nil {
		cfg.ClientCA = clusterClientCA(cfg.Cloud)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	shared := Config{
		Cloud: cfg.Cloud, ClientCA: cfg.ClientCA, Logger: cfg.Logger,
		MaxConnections: cfg.MaxConnections, MaxUnauthenticated: cfg.MaxUnauthenticated, MaxUnauthenticatedPerNetwork: cfg.MaxUnauthenticatedPerNetwork,
	}
	return &Clients{auth: newAuthenticator(shared), limiter: newConnLimiter(shared), cloud: cfg.Cloud, log: cfg.Logger}, nil
}

// Run keeps the authorities of client certificates fresh until ctx ends, and returns nil. A
// second Run returns controller.ErrStarted.
func (c *Clients) Run(ctx context.Context) error {
	if err := c.guard.Start(); err != nil {
		return err
	}
	c.auth.run(ctx)
	return nil
}

// Limit bounds the connections of a port. Its http.Server needs ConnContext: Remember.
func (c *Clients) Limit(l net.Listener) net.Listener { return c.limiter.listener(l) }

// Remember is the ConnContext of an http.Server.
func (c *Clients) Remember(ctx context.Context, conn net.Conn) context.Context {
	return withConn(ctx, conn)
}

// Authenticate finds the user who sent a request. Its error wraps ErrUnauthenticated or
// ErrBusy.
func (c *Clients) Authenticate(r *http.Request) (User, error) {
	u, err := c.auth.authenticate(r)
	if errors.Is(err, errBusy) {
		return User{}, err
	}
	if err != nil {
		return User{}, fmt.Errorf("%w: %w", ErrUnauthenticated, err)
	}
	markKnown(r.Context())
	return User{Name: u.name, UID: u.uid, Groups: u.groups, Extra: u.extra}, nil
}

// Allowed asks the API server whether the user has a right. An answer is used for 5 minutes if
// it is yes, and for 30 seconds if it is no.
func (c *Clients) Allowed(ctx context.Context, u User, right authorizationv1.ResourceAttributes) (bool, error) {
	spec := authorizationv1.SubjectAccessReviewSpec{User: u.Name, UID: u.UID, Groups: u.Groups, ResourceAttributes: &right}
	for k, v := range u.Extra {
		if spec.Extra == nil {
			spec.Extra = make(map[string]authorizationv1.ExtraValue, len(u.Extra))
		}
		spec.Extra[k] = authorizationv1.ExtraValue(v)
	}
	text, err := json.Marshal(spec)
	if err != nil {
		return false, fmt.Errorf("rights: %w", err)
	}
	c.mu.Lock()
	ok, known := c.decisions.get(string(text), time.Now())
	c.mu.Unlock()
	if known {
		return ok, nil
	}
	review, err := c.cloud.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		c.log.Warn("the API server did not answer a SubjectAccessReview", "user", u.Name, "err", err)
		return false, fmt.Errorf("the API server did not answer whether user %s may do this", u.Name)
	}
	fresh := deniedFresh
	if review.Status.Allowed {
		fresh = allowedFresh
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.decisions.put(string(text), review.Status.Allowed, time.Now().Add(fresh))
	return review.Status.Allowed, nil
}
