package join

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"net/url"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/edgekit/edgekit/hub"
)

// IdentityConfig sets up an Identity. Credentials and URL are required.
type IdentityConfig struct {
	Credentials Credentials  // what LoadCredentials or Join returned
	URL         string       // the cloud's, "https://host:port"
	Dir         string       // where renewed credentials are saved; empty for nowhere
	Keys        Keys         // makes the keys of renewals; nil makes them here and saves them in Dir
	Clock       *Clock       // nil means the system's
	Logger      *slog.Logger // nil discards
}

// Identity serves a node's credentials to its TLS connections and keeps them
// fresh: its certificate, and the authorities that it trusts.
type Identity struct {
	cfg          IdentityConfig
	host         string        // of URL
	newAuthority chan struct{} // has a value when a server showed an unknown authority
	started      atomic.Bool

	renewing sync.Mutex    // one Renew at a time
	next     crypto.Signer // of a renewal under way; used without a Dir, guarded by renewing

	mu    sync.Mutex
	now   Credentials
	stats IdentityStats
}

// IdentityStats are what an Identity knows of its certificates, and counts.
type IdentityStats struct {
	Certificate time.Time // when the node's certificate ends
	Authority   time.Time // when the last of the trusted authorities ends
	Renewed     uint64    // renewals that succeeded
	Failed      uint64    // renewals that did not
}

const (
	renewRetryMin = time.Minute
	renewRetryMax = 6 * time.Hour
	// renewExpired bounds the wait of a node whose certificate has expired: it
	// has no link before it is renewed.
	renewExpired = 4 * time.Minute
	// renewCheck bounds one wait, since machines sleep and clocks are changed.
	renewCheck = time.Hour
	// trustEvery is how often the node asks which authorities to trust. The nodes of a
	// fleet ask at different times. One request costs 4 KB.
	trustEvery = 12 * time.Hour
	// spread is the time over which the nodes of a fleet renew when their authority no
	// longer signs.
	spread = 12 * time.Hour
)

// NewIdentity checks cfg and makes an Identity.
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
	return &Identity{cfg: cfg, host: u.Hostname(), now: cfg.Credentials, newAuthority: make(chan struct{}, 1)}, nil
}

// Credentials returns the present ones.
func (i *Identity) Credentials() Credentials {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.now
}

// Stats returns the times of the certificates, and what was counted so far.
func (i *Identity) Stats() IdentityStats {
	i.mu.Lock()
	defer i.mu.Unlock()
	s := i.stats
	s.Certificate = i.now.Leaf.NotAfter
	for _, r := range i.now.Roots {
		if r.NotAfter.After(s.Authority) {
			s.Authority = r.NotAfter
		}
	}
	return s
}

// TLS is a client's TLS 1.3 configuration: each new connection shows the certificate that
// is valid then. The server's certificate must be signed by an authority of the
// credentials, or by one that such an authority vouches for, and name the host that is
// dialled. For an IP address, which TLS does not send as a server name (RFC 6066 section
// 3), that is the host in IdentityConfig.URL. Its times are checked by the Clock. A
// certificate that is not valid yet by the Clock is accepted: the cloud signs nothing
// ahead of time, so the Clock is late.
func (i *Identity) TLS() *tls.Config {
	c := i.config(i.host)
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return i.Credentials().Certificate(), nil
	}
	return c
}

// config is TLS without the node's certificate.
func (i *Identity) config(host string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		Time:       i.cfg.Clock.Now,
		// VerifyConnection does all that is skipped here, with our own clock.
		InsecureSkipVerify: true,
		VerifyConnection: func(s tls.ConnectionState) error {
			chain, err := verifyServer(s, i.Credentials().Roots, cmp.Or(s.ServerName, host), i.cfg.Clock)
			if err == nil && len(chain) > 2 {
				// The issuer is an authority that this node does not know, for which one
				// that it knows vouches.
				select {
				case i.newAuthority <- struct{}{}:
				default:
				}
			}
			return err
		},
	}
}

// Run renews the certificate when the cloud wants it, which is by default when two thirds
// of its life are over, and soon when its
// authority no longer signs. Twice a day, and when a server shows a new authority, it
// asks which ones to trust. A failure is logged and tried again, for ever. It returns nil
// when ctx ends. A second call returns hub.ErrStarted.
func (i *Identity) Run(ctx context.Context) error {
	if i.started.Swap(true) {
		return hub.ErrStarted
	}
	var renew, trust schedule
	trust.at = time.Now().Add(mathrand.N(trustEvery / 12))
	moved := mathrand.N(spread) // this node's share of spread
	var since time.Time         // when its authority was seen not to sign any more
	for ctx.Err() == nil {
		c := i.Credentials()
		switch {
		case c.Leaf.CheckSignatureFrom(c.Roots[0]) == nil:
			since = time.Time{}
		case since.IsZero():
			since = time.Now()
		}
		// By the monotonic clock, whatever the system's is set to.
		due := time.Now().Add(c.renewAt().Sub(i.cfg.Clock.Now()))
		if early := since.Add(moved); !since.IsZero() && early.Before(due) {
			due = early
		}
		if due.Before(renew.at) {
			due = renew.at
		}
		if time.Until(due) <= 0 {
			i.renewOnce(ctx, &renew)
			continue
		}
		if time.Until(trust.at) <= 0 {
			i.refreshOnce(ctx, &trust)
			continue
		}
		select {
		case <-ctx.Done():
		case <-i.newAuthority:
			trust.at = time.Now().Add(mathrand.N(renewRetryMin))
		case <-time.After(min(time.Until(due), time.Until(trust.at), renewCheck)):
		}
	}
	return nil
}

func (i *Identity) renewOnce(ctx context.Context, s *schedule) {
	err := i.Renew(ctx)
	// A certificate may be due again at once, if its authority is about to end.
	wait := s.next(err, renewRetryMin)
	if err != nil && wait > renewExpired && i.cfg.Clock.Now().After(i.Credentials().Leaf.NotAfter) {
		wait = renewExpired/2 + mathrand.N(renewExpired/2)
		s.at = time.Now().Add(wait)
	}
	if err != nil && ctx.Err() == nil {
		i.cfg.Logger.Warn("certificate was not renewed",
			"until", i.Credentials().Leaf.NotAfter, "retry", wait.Round(time.Second), "err", err)
	}
}

func (i *Identity) refreshOnce(ctx context.Context, s *schedule) {
	err := i.Refresh(ctx)
	if wait := s.next(err, trustEvery/2+mathrand.N(trustEvery)); err != nil && ctx.Err() == nil {
		i.cfg.Logger.Warn("the cloud was not asked which authorities to trust", "retry", wait.Round(time.Second), "err", err)
	}
}

// schedule says when something is done next. Waits are measured by the monotonic clock.
type schedule struct {
	at      time.Time
	attempt int
}

// next plans after an attempt: after the pause given, or sooner if it failed.
func (s *schedule) next(err error, pause time.Duration) time.Duration {
	if err == nil {
		s.attempt = 0
	} else {
		pause = min(renewRetryMin<<min(s.attempt, 16), renewRetryMax)
		pause = pause/2 + mathrand.N(pause/2) // the nodes of a fleet must not ask all at once
		s.attempt++
	}
	s.at = time.Now().Add(pause)
	return pause
}

// Renew asks for a new certificate now, for a new key, and saves both. It sends the old
// certificate in the request and not in the TLS handshake, which would refuse an expired
// one. The new key is on disk before the cloud gets it, and the cloud accepts the old one
// until the new one was used: whatever is interrupted, the node has a valid key. A cloud
// of an older version renews the old key.
func (i *Identity) Renew(ctx context.Context) (err error) {
	i.renewing.Lock()
	defer i.renewing.Unlock()
	defer func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		if err == nil {
			i.stats.Renewed++
		} else {
			i.stats.Failed++
		}
	}()
	old := i.Credentials()
	key, err := i.nextKey(ctx, old.Key)
	if err != nil {
		// The certificate must not expire because a disk is full.
		i.cfg.Logger.Warn("no new key was made: the certificate is renewed for the old one", "err", err)
		key = old.Key
	}
	c, err := i.renewFor(ctx, old, key)
	if errors.Is(err, ErrIdentity) && !sameKey(key, old.Key) {
		c, err = i.renewFor(ctx, old, old.Key) // the cloud's version may be older
	}
	if err != nil {
		return err
	}
	if err := i.put(c); err != nil {
		return err
	}
	i.retain(ctx, c.Leaf)
	i.cfg.Clock.Learn(c.Leaf.NotBefore)
	i.cfg.Logger.Info("certificate was renewed", "until", c.Leaf.NotAfter, "newKey", !sameKey(c.Key, old.Key))
	if !sameKey(c.Key, old.Key) {
		i.confirm(ctx)
	}
	return nil
}

// nextKey returns the key of the next certificate: that of an attempt whose answer
// was lost, or else a new one.
func (i *Identity) nextKey(ctx context.Context, used crypto.Signer) (crypto.Signer, error) {
	if i.cfg.Keys != nil {
		return i.nextOfKeys(ctx, used)
	}
	if i.cfg.Dir != "" {
		return keptKey(filepath.Join(i.cfg.Dir, RenewalFile), used)
	}
	if i.next == nil || sameKey(i.next, used) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, fmt.Errorf("join: make a key: %w", err)
		}
		i.next = key
	}
	return i.next, nil
}

// renewFor trades the old certificate for one for the key.
func (i *Identity) renewFor(ctx context.Context, old Credentials, key crypto.Signer) (Credentials, error) {
	csr, err := newCSR(key)
	if err != nil {
		return Credentials{}, err
	}
	req := renewRequest{Certificate: string(encodePEM(pemCertificate, old.Leaf.Raw)), CSR: csr}
	if !sameKey(key, old.Key) {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return Credentials{}, fmt.Errorf("join: encode the key: %w", err)
		}
		if req.Proof, err = old.Key.Sign(rand.Reader, proofText(old.Leaf, hash(der)), crypto.SHA256); err != nil {
			return Credentials{}, fmt.Errorf("join: sign the request: %w", err)
		}
	}
	g, err := i.ask(ctx, i.config, RenewPath, req)
	if err != nil {
		return Credentials{}, err
	}
	c, err := credentials(key, g)
	if err != nil {
		return Credentials{}, err
	}
	if c.Node != old.Node {
		return Credentials{}, fmt.Errorf("%w: it answered with a certificate for %q", ErrServer, c.Node)
	}
	return c, nil
}

// confirm shows the cloud the new certificate, so that the cloud stops accepting the
// earlier key. Without it that happens when the node next connects.
func (i *Identity) confirm(ctx context.Context) {
	shown := func(host string) *tls.Config {
		c := i.config(host)
		c.GetClientCertificate = i.TLS().GetClientCertificate
		return c
	}
	if _, err := i.ask(ctx, shown, TrustPath, nil); err != nil {
		i.cfg.Logger.Info("the cloud was not shown the new key: the old one stays valid until the node connects", "err", err)
	}
}

// Refresh asks now which authorities to trust, and saves the answer if it has changed.
func (i *Identity) Refresh(ctx context.Context) error {
	g, err := i.ask(ctx, i.config, TrustPath, nil)
	if err != nil {
		return err
	}
	c := i.Credentials()
	if slices.EqualFunc(c.Roots, g.roots, (*x509.Certificate).Equal) {
		return nil
	}
	c.Roots = g.roots
	if err := i.put(c); err != nil {
		return err
	}
	i.cfg.Logger.Info("trusted authorities have changed", "authorities", len(g.roots), "issuer", KeyHash(g.roots[0]))
	return nil
}

func (i *Identity) ask(ctx context.Context, config func(host string) *tls.Config, path string, body any) (grant, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	g, err := ask(ctx, config, i.cfg.URL, path, body)
	if off := time.Until(g.Time).Round(time.Second); err == nil && off.Abs() > skew {
		i.cfg.Logger.Warn("this machine's clock differs from the cloud's", "behind", off)
	}
	return g, err
}

// put saves credentials and then uses them. If they cannot be saved, nothing changes.
func (i *Identity) put(c Credentials) error {
	if i.cfg.Dir != "" {
		if err := c.Save(i.cfg.Dir); err != nil {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.now = c
	return nil
}
