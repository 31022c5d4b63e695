package simulate

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"github.com/edgekit/edgekit/controller/nodeidentity"
	"github.com/edgekit/edgekit/hub/join"
)

// certificateLife is longer than a simulation: light nodes renew nothing.
const certificateLife = 7 * 24 * time.Hour

// identities makes the identities of nodes.
type identities struct {
	cfg   *Config
	store *nodeidentity.Store
	trust join.Authorities // with IdentityCA
}

func newIdentities(ctx context.Context, cfg *Config, store *nodeidentity.Store) (*identities, error) {
	out := &identities{cfg: cfg, store: store}
	if cfg.Identity == IdentityToken {
		return out, nil
	}
	var err error
	if out.trust, err = store.Authorities(ctx); err != nil {
		return nil, fmt.Errorf("simulate: read the cluster's authority: %w", err)
	}
	return out, nil
}

// issue gives a node its identity: the TLS configuration of its link.
func (s *identities) issue(ctx context.Context, node string) (*tls.Config, error) {
	if s.cfg.Identity == IdentityToken {
		return s.join(ctx, node)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf, err := s.trust.Issuer.IssueNode(key.Public(), node, time.Now(), certificateLife)
	if err != nil {
		return nil, err
	}
	if _, err := s.store.Claim(ctx, node, join.KeyHash(leaf)); err != nil {
		return nil, err
	}
	return &tls.Config{
		RootCAs: s.trust.Issuer.Pool(), MinVersion: tls.VersionTLS13,
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}},
	}, nil
}

// join joins as a machine does.
func (s *identities) join(ctx context.Context, node string) (*tls.Config, error) {
	token, err := s.store.CreateToken(ctx, node, time.Hour)
	if err != nil {
		return nil, err
	}
	url := "https://" + s.cfg.Servers[0]
	credentials, err := join.Join(ctx, join.Request{URL: url, Token: token.String(), Node: node})
	if err != nil {
		return nil, err
	}
	identity, err := join.NewIdentity(join.IdentityConfig{Credentials: credentials, URL: url})
	if err != nil {
		return nil, err
	}
	return identity.TLS(), nil
}

// host is the host of an address.
func host(addr string) string {
	h, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return h
}
