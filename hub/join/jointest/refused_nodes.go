package jointest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"time"
)

// refusedNode is a node that a cloud's transport must turn away.
type refusedNode struct {
	name    string
	tls     *tls.Config
	expired bool // its certificate was valid once, and may be renewed
}

// refusedNodes are nodes that c's transports must turn away by their
// certificates.
func (c *Cloud) refusedNodes() []refusedNode {
	c.t.Helper()
	with := func(cert tls.Certificate) *tls.Config {
		cfg := c.ClientTLS("")
		// Sent whatever authorities the server asks for.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
		return cfg
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	old, err := c.CA.IssueNode(key.Public(), "edge-1", time.Now().Add(-48*time.Hour), time.Hour)
	if err != nil {
		c.t.Fatal(err)
	}
	server, err := c.CA.IssueServer(time.Now(), "127.0.0.1")
	if err != nil {
		c.t.Fatal(err)
	}
	return []refusedNode{
		{name: "no certificate", tls: c.ClientTLS("")},
		{name: "a server's certificate", tls: with(server)},
		{name: "another authority's certificate", tls: with(NewCloud(c.t).ClientTLS("edge-1").Certificates[0])},
		{name: "an expired certificate", tls: with(tls.Certificate{Certificate: [][]byte{old.Raw}, PrivateKey: key}), expired: true},
	}
}

// impostors are configurations of servers that c's nodes must refuse, by what is wrong
// with them.
func (c *Cloud) impostors() map[string]*tls.Config {
	c.t.Helper()
	serve := func(cert tls.Certificate) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}
	}
	elsewhere, err := c.CA.IssueServer(time.Now(), "elsewhere.example")
	if err != nil {
		c.t.Fatal(err)
	}
	old, err := c.CA.IssueServer(time.Now().Add(-10*365*24*time.Hour), "127.0.0.1")
	if err != nil {
		c.t.Fatal(err)
	}
	return map[string]*tls.Config{
		"another authority": NewCloud(c.t).ServerTLS(), "another name": serve(elsewhere),
		"an expired certificate": serve(old), "a node's certificate": serve(c.ClientTLS("edge-1").Certificates[0]),
	}
}
