package access_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus"
	"github.com/edgekit/edgekit/bus/access"
	"github.com/edgekit/edgekit/bus/broker"
)

var (
	loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1884}
	node     = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1884}
	lan      = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 40000}
	socket   = &net.UnixAddr{Name: "/run/mqtt.sock"}
)

const (
	token   = "eyJh.eyJi.c2ln"
	account = "system:serviceaccount:plant:app"
)

// tokens accepts one token, and counts.
func tokens(calls *atomic.Int64) func(context.Context, string, net.Addr) (string, error) {
	return func(_ context.Context, got string, _ net.Addr) (string, error) {
		calls.Add(1)
		if got != token {
			return "", errors.New("the token's pod is not on this node")
		}
		return account, nil
	}
}

func TestAuthenticate(t *testing.T) {
	users := write(t, "users", line(t, "anna", "secret")+line(t, "idle", "secret"))
	rules := write(t, "rules", "users:\n- {name: anna, role: app, clientIDs: [press-*]}\n- {name: idle, role: none}\n- {name: cert, role: app}\n")
	anonymous := write(t, "rules2", "users:\n- {name: anonymous, role: none}\n")
	named := func(name string, alternatives ...string) []*x509.Certificate {
		return []*x509.Certificate{{Subject: pkix.Name{CommonName: name}, DNSNames: alternatives}}
	}
	open1 := access.Config{Anonymous: true}
	full := access.Config{Users: users, Rules: rules, Anonymous: true, Token: tokens(new(atomic.Int64))}
	closed := access.Config{Users: users, Token: full.Token}
	login := func(user, password string, ends ...net.Addr) broker.Login {
		l := broker.Login{ClientID: "c", Username: user, Password: []byte(password), Remote: loopback, Local: loopback}
		if len(ends) == 2 {
			l.Remote, l.Local = ends[0], ends[1]
		}
		return l
	}
	id := func(l broker.Login, id string) broker.Login { l.ClientID = id; return l }
	certificate := func(l broker.Login, c []*x509.Certificate) broker.Login { l.Certificates = c; return l }
	for _, test := range []struct {
		name   string
		cfg    access.Config
		login  broker.Login
		user   string
		reason string // of a refusal
	}{
		{"anonymous on loopback", open1, login("", ""), "", ""},
		{"anonymous on a unix socket", open1, login("", "", socket, socket), "", ""},
		{"credentials that nobody can check", open1, login("mapper", "x"), "", ""},
		{"anonymous from elsewhere", open1, login("", "", lan, node), "", "anonymous"},
		{"routed to loopback", open1, login("", "", lan, loopback), "", "anonymous"},
		{"to the node's address", open1, login("", "", node, node), "", "anonymous"},
		{"credentials from elsewhere", open1, login("mapper", "x", lan, node), "", "password"},
		{"anonymous everywhere", access.Config{RemoteAnonymous: true}, login("", "", lan, node), "", ""},
		{"anonymous has no role", access.Config{Rules: anonymous, Anonymous: true}, login("", ""), "", "rule"},
		{"anonymous is off", closed, login("", ""), "", "anonymous"},

		{"password", full, login("anna", "secret", lan, node), "anna", ""},
		{"wrong password", full, login("anna", "secrets"), "", "password"},
		{"no password", full, login("anna", ""), "", "password"},
		{"long password", full, login("anna", strings.Repeat("x", 513)), "", "password"},
		{"unknown user", full, login("eve", "secret"), "", "password"},
		{"user without a rule", access.Config{Users: users, Rules: anonymous}, login("anna", "secret"), "", "rule"},
		{"user with role none", full, login("idle", "secret"), "", "rule"},
		{"user without rules", closed, login("anna", "secret"), "anna", ""},

		{"token", full, login("whatever", token, lan, node), account, ""},
		{"token without user name", full, login("", token), account, ""},
		{"wrong token", full, login("", "eyJh.eyJi.ZXZl"), "", "token"},
		{"token as a user's password", full, login("anna", token), "", "password"},
		{"no tokens", access.Config{Users: users}, login("", token), "", "password"},

		{"certificate", full, certificate(login("", "", lan, node), named("cert")), "cert", ""},
		{"certificate and another name", full, certificate(login("anna", "secret"), named("cert")), "cert", ""},
		{"alternative name", full, certificate(login("", ""), named("", "cert")), "cert", ""},
		{"nameless certificate", full, certificate(login("", ""), named("")), "", "certificate"},
		{"certificate of a pod", full, certificate(login("", ""), named(account)), "", "certificate"},
		{"certificate of anonymous", full, certificate(login("", ""), named("anonymous")), "", "certificate"},

		{"own client id", full, id(login("anna", "secret"), "press-1"), "anna", ""},
		{"client id of another's rule", full, id(login("", ""), "press-1"), "", "client id"},
		{"client id is another user", full, id(login("", ""), "anna"), "", "client id"},
		{"pod with another's client id", full, id(login("", token), "press-1"), "", "client id"},
		{"own name as client id", full, id(login("anna", "secret"), "anna"), "anna", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := open(t, test.cfg)
			user, err := a.Authenticate(t.Context(), test.login)
			if (err != nil) != (test.reason != "") || user.Name != test.user {
				t.Errorf("got user %q, error %v", user.Name, err)
			}
			if want := map[bool]int64{true: 1}[test.reason != ""]; a.Stats().Logins[test.reason] != want {
				t.Errorf("counted %v", a.Stats().Logins)
			}
		})
	}
}

// Guessing costs little: a wrong password is not checked twice, an address that sends many has
// to wait, and others do not.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		a := open(t, access.Config{Token: tokens(&calls)})
		try := func(password string, from net.Addr) error {
			_, err := a.Authenticate(t.Context(), broker.Login{ClientID: "c", Password: []byte(password), Remote: from, Local: node})
			return err
		}
		for range 100 {
			if err := try("a.b.c", lan); err == nil {
				t.Fatal("let in")
			}
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("one wrong token was checked %d times", n)
		}
		for i := range 2000 {
			if err := try(fmt.Sprintf("a.b.%d", i), lan); err == nil {
				t.Fatal("let in")
			}
		}
		if n := calls.Load(); n > 21 {
			t.Errorf("2000 wrong tokens of one address were checked %d times", n)
		}
		if a.Stats().Logins["limit"] == 0 {
			t.Error("the limit is not counted")
		}
		if err := try(token, lan); err == nil {
			t.Error("an address at its limit is let in")
		}
		if err := try(token, node); err != nil {
			t.Errorf("another address: %v", err)
		}
		time.Sleep(2 * time.Second)
		if err := try(token, lan); err != nil {
			t.Errorf("after a while: %v", err)
		}
		for i := range 3000 { // addresses are forgotten, not kept for ever
			_ = try("a.b.c", &net.TCPAddr{IP: net.IPv4(198, 51, byte(i>>8), byte(i))})
		}
	})
}

// A client that logs in again costs no hash, and needs no place beside those who guess.
func TestKnownPassword(t *testing.T) {
	a := open(t, access.Config{Users: write(t, "users", line(t, "anna", "secret"))})
	try := func(password string) error {
		_, err := a.Authenticate(t.Context(), broker.Login{Username: "anna", Password: []byte(password), Remote: lan, Local: node})
		return err
	}
	if err := try("secret"); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if try(fmt.Sprint(i)) == nil {
			t.Fatal("let in")
		}
	}
	if err := try("secret"); err != nil {
		t.Errorf("after wrong passwords from the same address: %v", err)
	}
}

// replace gives a file another text, in one step.
func replace(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		users, rules := filepath.Join(dir, "users"), filepath.Join(dir, "rules")
		put := func(name, text string) {
			t.Helper()
			replace(t, name, text)
			time.Sleep(6 * time.Second)
			synctest.Wait()
		}
		anna, bob := line(t, "anna", "secret"), line(t, "bob", "secret")
		put(users, anna+bob)
		put(rules, "users:\n- {name: '*', role: app, read: [a/*]}\n")
		a := open(t, access.Config{Users: users, Rules: rules})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		defer func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := a.Run(t.Context()); !errors.Is(err, bus.ErrStarted) {
				t.Errorf("a second Run: %v", err)
			}
		}()
		login := func(user, password string) bool {
			_, err := a.Authenticate(t.Context(), broker.Login{Username: user, Password: []byte(password), Remote: loopback, Local: loopback})
			return err == nil
		}
		reads := func(user, device string) bool {
			return a.Allow(broker.User{Name: user}, "$hw/events/device/"+device+"/twin/get", broker.ActionPublish)
		}
		check := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %v", what, got)
			}
		}
		check("bob at first", login("bob", "secret") && login("anna", "secret") && reads("bob", "a/x") && !reads("bob", "b/x"), true)
		put(users, anna)
		check("bob after his removal", login("bob", "secret"), false)
		check("bob's open connection", reads("bob", "a/x"), false)
		check("anna meanwhile", login("anna", "secret") && reads("anna", "a/x"), true)
		put(users, anna+"bob:oops\n")
		check("anna with a bad file", login("anna", "secret"), true)
		if err := os.Remove(users); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		check("anna with no file", login("anna", "secret"), true)
		put(users, anna+line(t, "bob", "other"))
		check("bob with the old password", login("bob", "secret"), false)
		check("bob with the new password", login("bob", "other") && reads("bob", "a/x"), true)
		put(rules, "users:\n- {name: bob, role: app, read: [b/*]}\n")
		check("bob under new rules", !reads("bob", "a/x") && reads("bob", "b/x"), true)
		check("anna without a rule", reads("anna", "a/x") || login("anna", "secret"), false)
	})
}

// certificate makes a certificate and its key, PEM, signed by parent; nil signs itself.
func certificate(t *testing.T, name string, parent *tls.Certificate) (certPEM, keyPEM []byte, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(1000 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	by, signer := c, any(key)
	if parent != nil {
		by, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return certPEM, keyPEM, pair
}

// The broker shows its certificate, a new one after the files have changed, and takes only
// clients' certificates that the authority signed.
func TestTLS(t *testing.T) {
	caPEM, _, ca := certificate(t, "ca", nil)
	_, _, otherCA := certificate(t, "ca", nil)
	certPEM, keyPEM, _ := certificate(t, "broker-1", &ca)
	_, _, client := certificate(t, "anna", &ca)
	_, _, stranger := certificate(t, "anna", &otherCA)
	cfg := access.Config{Cert: write(t, "cert", string(certPEM)), Key: write(t, "key", string(keyPEM)), ClientCA: write(t, "ca", string(caPEM))}
	a := open(t, cfg)
	roots := x509.NewCertPool()
	roots.AddCert(ca.Leaf)
	connect := func(a *access.Access, with ...tls.Certificate) (server string, user string, err error) {
		left, right := net.Pipe()
		defer left.Close()
		s := tls.Server(right, a.TLS())
		shaken := make(chan error, 1)
		go func() {
			shaken <- s.HandshakeContext(t.Context())
			_ = right.Close()
		}()
		c := tls.Client(left, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", Certificates: with})
		_ = c.HandshakeContext(t.Context()) // the server's word counts
		if all := c.ConnectionState().PeerCertificates; len(all) > 0 {
			server = all[0].Subject.CommonName
		}
		_ = left.Close()
		if err := <-shaken; err != nil {
			return server, "", err
		}
		who, err := a.Authenticate(t.Context(), broker.Login{Certificates: s.ConnectionState().PeerCertificates, Remote: lan, Local: node})
		return server, who.Name, err
	}
	if server, user, err := connect(a, client); server != "broker-1" || user != "anna" || err != nil {
		t.Errorf("got %q %q %v", server, user, err)
	}
	if _, _, err := connect(a, stranger); err == nil || strings.Contains(err.Error(), "bus/access") {
		t.Errorf("a certificate of another authority: %v", err)
	}
	if _, _, err := connect(a); err == nil || !strings.Contains(err.Error(), "no user") {
		t.Errorf("no certificate: %v", err)
	}
	for name, bad := range map[string]access.Config{"found a certificate rather than a key": {Cert: cfg.Cert, Key: cfg.ClientCA}, "no certificate in PEM form": {Cert: cfg.Cert, Key: cfg.Key, ClientCA: cfg.Key}} {
		if _, err := access.Open(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got %v, want %q", err, name)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		a := open(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		certPEM, keyPEM, _ := certificate(t, "broker-2", &ca)
		for name, text := range map[string][]byte{cfg.Cert: certPEM, cfg.Key: keyPEM} {
			if err := os.WriteFile(name, append(text, '\n'), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(6 * time.Second)
			synctest.Wait()
		}
		now, err := a.TLS().GetConfigForClient(nil)
		if err != nil || now.Certificates[0].Leaf.Subject.CommonName != "broker-2" {
			t.Errorf("after the change: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
