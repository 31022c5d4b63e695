package join_test

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// TestServerCertificate: the certificate is made once, again at two thirds of its life
// and after a change of the authority, and the Bundle verifies it.
func TestServerCertificate(t *testing.T) {
	now := time.Now()
	ca := func(name string) *join.CA {
		c, err := join.NewCA(name, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	keys, err := join.NewKeyring(join.KeyringConfig{Authorities: join.Authorities{Issuer: ca("one")}, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	current, err := keys.ServerCertificate("192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	var last []byte
	check := func(when string, fresh bool) {
		t.Helper()
		cert, err := current()
		if err != nil {
			t.Fatal(when, err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(keys.Bundle())
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: "192.0.2.7", CurrentTime: now}); err != nil {
			t.Error(when, err)
		}
		if bytes.Equal(last, cert.Leaf.Raw) == fresh {
			t.Errorf("%s: made anew is %v", when, !fresh)
		}
		last = cert.Leaf.Raw
	}
	check("at first", true)
	check("again", false)
	now = now.Add(join.DefaultServerLife * 3 / 4)
	check("late in its life", true)
	if err := keys.Update(join.Authorities{Issuer: ca("two")}); err != nil {
		t.Fatal(err)
	}
	check("after a change of the authority", true)
	if _, err := keys.ServerCertificate(); err == nil {
		t.Error("a certificate for nobody")
	}
}
