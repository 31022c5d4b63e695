package jointest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// Cloud is the identity side of a cloud in a test: an authority, a certificate
// for the cloud's server, and a Store. What goes wrong ends the test. Its
// methods may be called by several goroutines at once.
type Cloud struct {
	Store
	CA *join.CA

	t    testing.TB
	cert tls.Certificate
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
	cert, err := ca.IssueServer(time.Now(), hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return &Cloud{CA: ca, t: t, cert: cert}
}

// Handler answers joins and renewals from the Store.
func (c *Cloud) Handler() *join.Handler {
	c.t.Helper()
	h, err := join.NewHandler(join.HandlerConfig{CA: c.CA, Tokens: &c.Store, Names: &c.Store})
	if err != nil {
		c.t.Fatal(err)
	}
	return h
}

// ServerTLS is the configuration of the cloud's server.
func (c *Cloud) ServerTLS() *tls.Config {
	return c.CA.ServerTLS(func() (*tls.Certificate, error) { return &c.cert, nil })
}

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
	token := join.NewToken(c.CA.Pin())
	c.Add(token.Record(nodes, time.Now().Add(time.Hour)))
	return token
}
