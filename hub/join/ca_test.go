package join_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/join"
)

// foreignCA is an authority as others make them.
func foreignCA(t *testing.T, key *ecdsa.PrivateKey, edit func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "foreign"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * 365 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func keyPEM(t *testing.T, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(key) // SEC 1, as openssl ecparam writes it
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}

func TestGivenCA(t *testing.T) {
	key := newKey(t)
	for _, tt := range []struct {
		name string
		edit func(*x509.Certificate)
		key  *ecdsa.PrivateKey
		want string // in the error; empty for none
	}{
		{"a good one", nil, key, ""},
		{"pathlen 0", func(c *x509.Certificate) { c.MaxPathLenZero = true }, key, ""},
		{"another one's key", nil, newKey(t), "does not match"},
		{"no authority", func(c *x509.Certificate) { c.IsCA = false }, key, "CA:TRUE"},
		{"may not sign", func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, key, "keyCertSign"},
		{"expired", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, key, "expired"},
		{"not valid yet", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }, key, "check this machine's clock"},
		{"for servers only", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, key, "not accepted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ca, err := join.LoadCA(foreignCA(t, key, tt.edit), keyPEM(t, tt.key))
			if err == nil {
				err = ca.Check(time.Now())
			}
			switch {
			case tt.want == "" && err != nil:
				t.Fatal(err)
			case tt.want != "" && (!errors.Is(err, join.ErrCA) || !strings.Contains(err.Error(), tt.want)):
				t.Fatalf("got %v, want %q in it", err, tt.want)
			case err != nil:
				t.Log(err)
			}
		})
	}
	for _, garbage := range []string{"", "x", "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"} {
		if _, err := join.LoadCA([]byte(garbage), keyPEM(t, key)); !errors.Is(err, join.ErrCA) {
			t.Errorf("%q: %v", garbage, err)
		}
	}
}

// TestAuthorityWithoutSuccessor: an authority with pathlen 0 cannot sign a bridge.
// Bridged reports that, and the rotation goes on.
func TestAuthorityWithoutSuccessor(t *testing.T) {
	key := newKey(t)
	ca, err := join.LoadCA(foreignCA(t, key, func(c *x509.Certificate) { c.MaxPathLenZero = true }), keyPEM(t, key))
	if err != nil {
		t.Fatal(err)
	}
	a, err := join.Authorities{Issuer: ca}.Publish(newCA(t, "second"), time.Now())
	if err != nil || a.Bridged() {
		t.Fatal(a.Bridged(), err)
	}
	if a, err = a.Switch(); err != nil || len(a.Trusted) != 1 {
		t.Fatal(err)
	}
}

func TestKeyringKeepsGoodAuthorities(t *testing.T) {
	good := newCA(t, "good")
	ahead := time.Duration(0)
	k, err := join.NewKeyring(join.KeyringConfig{
		Authorities: join.Authorities{Issuer: good}, Hosts: []string{"x"}, Now: func() time.Time { return time.Now().Add(ahead) },
	})
	if err != nil {
		t.Fatal(err)
	}
	old, err := join.NewCA("old", time.Now().Add(-2*join.DefaultCALife))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []join.Authorities{{}, {Issuer: old}} {
		if err := k.Update(a); !errors.Is(err, join.ErrCA) || k.Pin() != good.Pin() {
			t.Errorf("%v; the issuer is %s", err, k.Pin())
		}
	}
	// The server's certificate stays the same until two thirds of its life, is then made
	// again, and not by an expired authority.
	show := func() ([]byte, error) {
		c, err := k.ServerTLS().GetConfigForClient(nil)
		if err != nil {
			return nil, err
		}
		return c.Certificates[0].Certificate[0], nil
	}
	first, err := show()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := show(); err != nil || string(again) != string(first) {
		t.Error("made anew for each connection:", err)
	}
	ahead = join.DefaultServerLife*2/3 + time.Hour
	if later, err := show(); err != nil || string(later) == string(first) {
		t.Error("not made anew:", err)
	}
	if issuer, server := k.Expiry(); !issuer.Equal(good.Certificate().NotAfter) || time.Until(server) < join.DefaultServerLife {
		t.Error(issuer, server)
	}
	ahead = 2 * join.DefaultCALife
	if _, err := show(); !errors.Is(err, join.ErrCA) {
		t.Error("an authority that has ended signs:", err)
	}
}
