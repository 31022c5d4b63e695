package jointest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// Cloud is the identity side of a cloud in a test: an authority, a certificate for the
// cloud's server, and a Store. A failure ends the test. Its methods may be called by
// several goroutines at once.
type Cloud struct {
	Store
	CA      *join.CA // the first issuer
	Keyring *join.Keyring

	t     testing.TB
	mu    sync.Mutex
	ahead time.Duration
}

// NewCloud makes a Cloud whose server has those names and addresses, or
// 127.0.0.1 if there are none.
func NewCloud(t testing.TB, hosts ...string) *Cloud {
	t.Helper()
	if len(hosts) == 0 {
		hosts = []string{"127.0.0.1"}
	}
	ca, err := join.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &Cloud{CA: ca, t: t}
	c.Keyring, err = join.NewKeyring(join.KeyringConfig{
		Authorities: join.Authorities{Issuer: ca}, Hosts: hosts, Now: c.now,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *Cloud) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

// SetAhead puts the cloud's clock that far ahead of this machine's.
func (c *Cloud) SetAhead(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// Handler answers joins and renewals from the Store. edit may change its configuration.
func (c *Cloud) Handler(edit ...func(*join.HandlerConfig)) *join.Handler {
	c.t.Helper()
	cfg := join.HandlerConfig{Keyring: c.Keyring, Tokens: &c.Store, Names: &c.Store, Ledger: &c.Store, Revoked: &c.Store, Approvals: &c.Store}
	for _, f := range edit {
		f(&cfg)
	}
	h, err := join.NewHandler(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

// ServerTLS is the configuration of the cloud's server.
func (c *Cloud) ServerTLS() *tls.Config { return c.Keyring.ServerTLS() }

// ClientTLS is the configuration of a node that has joined: it has a key of
// its own and a certificate that is valid for an hour. Without a name it has no
// certificate.
func (c *Cloud) ClientTLS(node string) *tls.Config {
	c.t.Helper()
	cfg := &tls.Config{RootCAs: c.CA.Pool(), MinVersion: tls.VersionTLS13}
	if node == "" {
		return cfg
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	leaf, err := c.CA.IssueNode(key.Public(), node, time.Now(), time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}}
	return cfg
}

// Token makes a join token that is valid for an hour for a node's name, or a
// pattern of names.
func (c *Cloud) Token(nodes string) join.Token {
	token := join.NewToken(c.Keyring.Pin())
	c.Add(token.Record(nodes, c.now().Add(time.Hour)))
	return token
}
