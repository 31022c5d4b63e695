package join

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"
)

// IdentityConfig sets up an Identity. Credentials and URL are required.
type IdentityConfig struct {
	Credentials Credentials
	URL         string       // the cloud's, "https://host:port"
	Dir         string       // where renewed credentials are saved; empty for nowhere
	Clock       *Clock       // nil means the system's
	Logger      *slog.Logger // nil discards
}

// Identity serves a node's credentials to its TLS connections and keeps them
// fresh.
type Identity struct {
	cfg  IdentityConfig
	host string // of URL

	mu  sync.Mutex
	now Credentials
}

const (
	renewRetryMin = time.Minute
	renewRetryMax = 6 * time.Hour
	// renewCheck bounds one wait: machines sleep, and clocks are set.
	renewCheck = time.Hour
)

// NewIdentity checks cfg and makes an Identity of it.
func NewIdentity(cfg IdentityConfig) (*Identity, error) {
	if cfg.Credentials.Leaf == nil || cfg.Credentials.Key == nil || len(cfg.Credentials.Roots) == 0 {
		return nil, errors.New("join: IdentityConfig.Credentials are required")
	}
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("join: IdentityConfig.URL %q is not an address: want https://host:port", cfg.URL)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Clock.Learn(cfg.Credentials.Leaf.NotBefore)
	return &Identity{cfg: cfg, host: u.Hostname(), now: cfg.Credentials}, nil
}

// Credentials are those that are valid now.
func (i *Identity) Credentials() Credentials {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.now
}

// TLS is a client's TLS 1.3 configuration: each new connection shows the
// certificate that is valid then. The server must be signed by an authority
// that the credentials hold and name the host that is dialled (for an IP
// address, of which TLS does not tell: the host in IdentityConfig.URL). Its
// times are judged by the Clock, and may be later than it, for the cloud signs
// nothing ahead of time.
func (i *Identity) TLS() *tls.Config { return i.config(i.host) }

func (i *Identity) config(host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       i.cfg.Clock.Now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return i.Credentials().Certificate(), nil
		},
		// VerifyConnection does all that is skipped here, with another clock.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			return verifyServer(s, i.Credentials().pool(), cmp.Or(s.ServerName, host), i.cfg.Clock)
		},
	}
}

// Run renews the certificate when two thirds of its life are over, until ctx
// ends; it then returns nil. What fails is tried again for as long as it takes
// and logged each time.
func (i *Identity) Run(ctx context.Context) error {
	for attempt := 0; ; {
		c := i.Credentials()
		wait := renewAt(c).Sub(i.cfg.Clock.Now())
		if wait <= 0 {
			err := i.Renew(ctx)
			switch {
			case err == nil:
				attempt = 0
				continue
			case ctx.Err() != nil:
				return nil
			}
			wait = min(renewRetryMin<<min(attempt, 16), renewRetryMax)
			wait = wait/2 + rand.N(wait/2) // a fleet must not ask as one
			attempt++
			i.cfg.Logger.Warn("certificate was not renewed", "until", c.Leaf.NotAfter, "retry", wait.Round(time.Second), "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(min(wait, renewCheck)):
		}
	}
}

// renewAt is two thirds into the certificate's life.
func renewAt(c Credentials) time.Time {
	life := c.Leaf.NotAfter.Sub(c.Leaf.NotBefore)
	return c.Leaf.NotBefore.Add(life / 3 * 2)
}

// Renew asks for a new certificate now, for the same key, and saves it.
func (i *Identity) Renew(ctx context.Context) error {
	old := i.Credentials()
	csr, err := newCSR(old.Key)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	g, err := post(ctx, i.config, i.cfg.URL, RenewPath, renewRequest{CSR: csr})
	if err != nil {
		return err
	}
	c, err := credentials(old.Key, g)
	if err != nil {
		return err
	}
	if c.Node != old.Node {
		return fmt.Errorf("%w: it answered with a certificate for %q", ErrServer, c.Node)
	}
	if i.cfg.Dir != "" {
		if err := c.Save(i.cfg.Dir); err != nil {
			return err
		}
	}
	i.mu.Lock()
	i.now = c
	i.mu.Unlock()
	i.cfg.Clock.Learn(c.Leaf.NotBefore)
	i.cfg.Logger.Info("certificate was renewed", "until", c.Leaf.NotAfter)
	return nil
}
