package apiserver

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/edgekit/edgekit/meta"
)

// Cloud makes the requests that the node cannot answer itself. meta/manager implements it.
type Cloud interface {
	// Query with a body asks the cloud for an action. It wraps
	// manager.ErrOffline when the cloud is out of reach.
	Query(ctx context.Context, q meta.Object) (meta.Object, error)
	// Append reports an event; it returns when that is durable here, and to be
	// read in meta.Events.
	Append(ctx context.Context, key meta.Key, body []byte) error
}

// Absences is an optional interface of a Cloud. It knows which objects the cloud has
// answered "not found" for, so that an offline client gets 404 for them instead of 503.
// meta/manager implements it.
type Absences interface {
	// Absent reports whether the object is known not to exist; since is 0.
	Absent(ctx context.Context, key meta.Key, since uint64) (bool, error)
}

// Config sets up a Server. Store and Node are required.
type Config struct {
	Store meta.Store
	Node  string // the node's name
	Cloud Cloud  // nil: the node has no cloud, and only reads are served
	// Connected reports whether the link is connected, and since when it has been
	// connected or disconnected. nil: never connected.
	Connected func() (connected bool, since time.Time)

	// Transport sends requests to the API server through the link; manager.NewTransport makes
	// one. While the link is connected, the requests of service accounts are answered in this
	// way, with their own tokens. Errors wrap those of package manager. nil answers all
	// requests from the store, and has Cloud execute writes.
	Transport http.RoundTripper
	// FollowLink calls changed with the state of the link, the present one and at least the
	// newest after each change, until ctx ends. When the link is connected again, the watches
	// of service accounts that are served from the store end, so that their clients list in
	// full. nil: they notice within a minute.
	FollowLink func(ctx context.Context, changed func(connected bool))

	// Authority signs the server's certificate; OpenAuthority reads it from a
	// folder. nil makes one in memory, which may not be had with Dir.
	Authority *Authority
	// Dir is the folder of admin.kubeconfig; it is made with mode 0700. ""
	// writes no file.
	Dir string
	// Listen is a TCP address for TLS: loopback, or an address of the node that
	// its pods reach. The zero value has no TCP listener.
	Listen netip.AddrPort
	// Listener listens on Listen already, and Run closes it. nil: Run listens.
	Listener net.Listener
	// Socket is the path of a Unix socket (mode 0600) whose clients are the node's
	// administrator, without TLS. "": no socket.
	Socket string
	// NodeCAs verifies the node's own certificate, CN=system:node:NAME, whose owner is
	// the node's administrator. nil: the certificate is not accepted.
	NodeCAs func() *x509.CertPool
	// ExpiredTokens is how long after its end a token is accepted while the node is
	// offline and no pod can renew it. Whoever can cut the link can use a stolen token
	// for that long. 0 means 30 days, negative not at all.
	ExpiredTokens time.Duration
	// Names are further names and addresses for the server's certificate.
	Names []string

	// Custom lists further resources in the store's Down area.
	Custom []Resource
	// Kubelet serves the node's kubelet API; pods' log, exec, attach and
	// portforward are handed to it under kubelet's paths. nil: they are refused.
	Kubelet http.Handler
	// Extensions serve paths that are not Kubernetes' own, by the prefix of the path, for
	// example "/twin/v1/". A path among Kubernetes' own that does not end with a slash
	// is served as it is, for example "/api/v1/pods/unhold-upgrade". Clients are authenticated as
	// for all other paths. What each may do is up to the handler: IdentityOf says who asks.
	//
	// A key with a method, for example "POST /api/v1/namespaces/*/pods/restart", is a pattern
	// in which * stands for one segment of a path of Kubernetes' own. It is for the node's
	// administrator alone: other clients are answered as if it did not exist.
	Extensions map[string]http.Handler
	// Version is the version in the answer to /version. "" means "v1.37.2".
	Version string

	MaxBody    int64 // largest body of a request, in bytes; 0 means 3 MiB
	MaxBodies  int   // how many bodies of MaxBody are held at a time; 0 means 8
	MaxWatches int   // watches of one client at a time, and other requests that stay open; 0 means 100
	// MaxRequests is how many other requests of one client are open at the API server at a
	// time, and MaxStreams how many of all clients together, watches among them; watches may have
	// three quarters of MaxStreams. 0 means 50 and 256. Further requests get 429 with Retry-After.
	MaxRequests, MaxStreams int
	// MaxConns is how many connections Listen may have, and MaxPerAddress those of one address
	// (of IPv6: of one /64) other than loopback; 0 means 500 and 100. Further ones are closed at once.
	MaxConns, MaxPerAddress int

	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil means time.Now
}

func (c Config) withDefaults() Config {
	if c.MaxBody == 0 {
		c.MaxBody = 3 << 20
	}
	if c.MaxBodies == 0 {
		c.MaxBodies = 8
	}
	if c.ExpiredTokens == 0 {
		c.ExpiredTokens = DefaultExpiredTokens
	}
	c.ExpiredTokens = max(c.ExpiredTokens, 0)
	if c.MaxWatches == 0 {
		c.MaxWatches = 100
	}
	if c.MaxRequests == 0 {
		c.MaxRequests = 50
	}
	if c.MaxStreams == 0 {
		c.MaxStreams = 256
	}
	if c.MaxConns == 0 {
		c.MaxConns = 500
	}
	if c.MaxPerAddress == 0 {
		c.MaxPerAddress = 100
	}
	if c.Version == "" {
		c.Version = "v1.37.2"
	}
	if c.Connected == nil {
		c.Connected = func() (bool, time.Time) { return false, time.Time{} }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) check() error {
	switch {
	case c.Store == nil:
		return errors.New("meta/apiserver: Config.Store is required")
	case c.Node == "":
		return errors.New("meta/apiserver: Config.Node is required: the node's name")
	case c.MaxBody < 0 || c.MaxBodies < 0 || c.MaxWatches < 0 || c.MaxRequests < 0 || c.MaxStreams < 0 || c.MaxConns < 0 || c.MaxPerAddress < 0:
		return errors.New("meta/apiserver: Config.MaxBody, MaxBodies, MaxWatches, MaxRequests, MaxStreams, MaxConns or MaxPerAddress is negative: leave it 0 for the default")
	case c.Dir != "" && !filepath.IsAbs(c.Dir):
		return fmt.Errorf("meta/apiserver: Config.Dir %q is not an absolute path", c.Dir)
	case c.Dir != "" && c.Authority == nil:
		return errors.New("meta/apiserver: Config.Authority is required with Config.Dir: set it to the result of OpenAuthority for a folder that survives restarts, so that clients trust the server after one")
	case c.Listen.IsValid() && c.Listen.Addr().IsUnspecified():
		return fmt.Errorf("meta/apiserver: Config.Listen %s stands for every address of the node: set one address, such as 127.0.0.1", c.Listen)
	}
	for key := range c.Extensions {
		if err := checkExtension(key); err != nil {
			return err
		}
	}
	for _, r := range c.Custom {
		if r.Group == "" || r.Version == "" || r.Name == "" || r.Kind == "" {
			return fmt.Errorf("meta/apiserver: Config.Custom: resource %q needs a group, version, name and kind", r.Name)
		}
	}
	return nil
}
