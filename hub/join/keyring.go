package join

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// KeyringConfig sets up a Keyring. Authorities are required, Hosts for ServerTLS.
type KeyringConfig struct {
	Authorities Authorities      // sign, and are trusted; see Update
	Hosts       []string         // names and IP addresses of the server's certificate
	Now         func() time.Time // nil means time.Now
	Logger      *slog.Logger     // nil discards
}

// Keyring holds a cloud's authorities while it runs. Servers and handlers that use it
// follow each Update, without a restart and without ending a connection. All methods may
// be called by several goroutines at once.
type Keyring struct {
	cfg KeyringConfig

	mu  sync.Mutex
	now ring
}

// ring is what a Keyring derives from its authorities.
type ring struct {
	Authorities
	links    *x509.CertPool // who may connect
	renewals *x509.CertPool // whose certificates are renewed
	bundle   []byte         // PEM
	config   *tls.Config    // for servers; nil before it is asked for
	remake   time.Time      // when config's certificate is made anew
	failed   bool           // to make it: it was logged
}

// NewKeyring checks cfg and makes a Keyring.
func NewKeyring(cfg KeyringConfig) (*Keyring, error) {
	if cfg.Authorities.Issuer == nil {
		return nil, errors.New("join: KeyringConfig.Authorities.Issuer is required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	cfg.Hosts = slices.Clone(cfg.Hosts)
	k := &Keyring{cfg: cfg}
	return k, k.Update(cfg.Authorities)
}

// Update replaces the authorities. If the new ones cannot be used it changes nothing and
// returns an ErrCA.
func (k *Keyring) Update(a Authorities) error {
	if a.Issuer == nil {
		return fmt.Errorf("%w: there is no issuer", ErrCA)
	}
	if err := a.Issuer.Check(k.cfg.Now()); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.now = ring{
		Authorities: a, links: poolOf(a.Bundle()), renewals: poolOf(a.all()), bundle: encodeCerts(a.Bundle()),
	}
	k.cfg.Logger.Info("certificate authorities", "issuer", a.Issuer.Pin(), "until", a.Issuer.cert.NotAfter,
		"next", a.Next != nil, "trusted", len(a.Trusted), "retired", len(a.Retired))
	return nil
}

// Authorities returns the present ones.
func (k *Keyring) Authorities() Authorities { return k.ring().Authorities }

// Pin is the Issuer's, for tokens.
func (k *Keyring) Pin() string { return k.ring().Issuer.Pin() }

// Bundle is the PEM of all authorities that nodes are to trust.
func (k *Keyring) Bundle() []byte { return k.ring().bundle }

func (k *Keyring) ring() ring {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// Expiry returns when the Issuer's and the server's certificate expire; the server's is
// zero before its first use.
func (k *Keyring) Expiry() (issuer, server time.Time) {
	r := k.ring()
	if r.config != nil {
		server = r.config.Certificates[0].Leaf.NotAfter
	}
	return r.Issuer.cert.NotAfter, server
}

// ServerTLS is a TLS 1.3 configuration for a server that both edges with a
// certificate and machines that are still to join may reach. Its own
// certificate is made by the Issuer when it is first needed, and anew at two
// thirds of its life and when the Issuer changes; its key is never on disk.
func (k *Keyring) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return k.server()
		},
	}
}

// server returns the configuration for one connection. It is the same value until
// something changes.
func (k *Keyring) server() (*tls.Config, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.cfg.Now()
	if k.now.config != nil && now.Before(k.now.remake) {
		return k.now.config, nil
	}
	cert, err := k.now.Issuer.IssueServer(now, k.cfg.Hosts...)
	if err != nil {
		if !k.now.failed {
			k.now.failed = true
			k.cfg.Logger.Error("server certificate was not made: nodes cannot connect", "err", err)
		}
		return nil, err
	}
	for _, c := range k.now.shown()[1:] { // the first is in it already
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	k.now.config = &tls.Config{
		MinVersion: tls.VersionTLS13, Time: k.cfg.Now, Certificates: []tls.Certificate{cert},
		ClientCAs: k.now.links, ClientAuth: tls.VerifyClientCertIfGiven,
		// A resumed session skips the check of the certificate, and each ticket
		// costs memory and bytes on the wire.
		SessionTicketsDisabled: true,
	}
	k.now.remake = twoThirds(cert.Leaf)
	k.cfg.Logger.Info("server certificate was made", "until", cert.Leaf.NotAfter, "hosts", k.cfg.Hosts)
	return k.now.config, nil
}

// twoThirds is when two thirds of a certificate's life are over.
func twoThirds(c *x509.Certificate) time.Time {
	return c.NotBefore.Add(c.NotAfter.Sub(c.NotBefore) / 3 * 2)
}

// verifyOld checks a certificate that is to be renewed, and that it did not end
// longer ago than grace.
func (k *Keyring) verifyOld(cert *x509.Certificate, grace time.Duration) (node string, err error) {
	now := k.cfg.Now()
	at := now
	switch {
	case now.After(cert.NotAfter.Add(grace)):
		err = fmt.Errorf("%w: it ended %s, and the grace period is %s", ErrExpired, stamp(cert.NotAfter), days(grace))
	case now.After(cert.NotAfter):
		at = cert.NotAfter
	case now.Before(cert.NotBefore):
		at = cert.NotBefore // our signature proves that this clock is late
	}
	opts := x509.VerifyOptions{Roots: k.ring().renewals, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if err != nil {
		opts.CurrentTime = cert.NotAfter // ErrExpired is the answer only for a certificate that was valid once
	}
	if _, bad := cert.Verify(opts); bad != nil {
		return "", fmt.Errorf("%w: %w", ErrIdentity, bad)
	}
	node, bad := NodeName(cert)
	if bad != nil {
		return "", fmt.Errorf("%w: %w", ErrIdentity, bad)
	}
	return node, err
}

// days formats long durations in days.
func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	}
	return d.String()
}
