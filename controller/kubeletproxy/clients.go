package kubeletproxy

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/edgekit/edgekit/controller/internal/auth"
	"github.com/edgekit/edgekit/controller/internal/runguard"
)

// ClientsConfig sets up Clients. Cloud is required; the other fields are those of Config.
type ClientsConfig struct {
	Cloud    kubernetes.Interface
	ClientCA func(context.Context) ([]byte, error)
	Logger   *slog.Logger
}

// Clients finds out who the clients of another port of cloudcore are and what they may, as a
// Server does for the nodes' endpoints: by client certificate or bearer token, and the API
// server's word. Its methods may be called by several goroutines at once.
type Clients struct {
	guard   runguard.Guard
	auth    *authenticator
	limiter *connLimiter
	rights  *auth.Rights
}

// ErrBusy is returned while too many tokens are being reviewed.
var ErrBusy = errBusy

// NewClients checks cfg. Nothing happens until Run.
func NewClients(cfg ClientsConfig) (*Clients, error) {
	if cfg.Cloud == nil {
		return nil, errors.New("kubeletproxy: ClientsConfig.Cloud is required")
	}
	if cfg.ClientCA == nil {
		cfg.ClientCA = clusterClientCA(cfg.Cloud)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	shared := Config{
		Cloud: cfg.Cloud, ClientCA: cfg.ClientCA, Logger: cfg.Logger,
		MaxConnections: 2000, MaxUnauthenticated: 512, MaxUnauthenticatedPerNetwork: 128,
	}
	return &Clients{auth: newAuthenticator(shared), limiter: newConnLimiter(shared), rights: newRights(cfg.Cloud, cfg.Logger)}, nil
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

// Limit bounds the connections of a port: 2000, of which 512 may be of clients that are not
// authenticated yet, and 128 of those of one network (IPv4 /24, IPv6 /64). Its http.Server needs ConnContext: Remember.
func (c *Clients) Limit(l net.Listener) net.Listener { return c.limiter.listener(l) }

// Remember is the ConnContext of an http.Server.
func (c *Clients) Remember(ctx context.Context, conn net.Conn) context.Context {
	return withConn(ctx, conn)
}

// Authenticate finds the user who sent a request. It returns ErrBusy while too many tokens are
// being reviewed; every other error says why the client is not authenticated.
func (c *Clients) Authenticate(r *http.Request) (authenticationv1.UserInfo, error) {
	u, err := c.auth.authenticate(r)
	if err == nil {
		markKnown(r.Context())
	}
	return u, err
}

// Allowed asks the API server whether the user has a right. An answer is used for 5 minutes if
// it is yes, and for 30 seconds if it is no.
func (c *Clients) Allowed(ctx context.Context, u authenticationv1.UserInfo, right authorizationv1.ResourceAttributes) (bool, error) {
	return c.rights.Allowed(ctx, u, right)
}
