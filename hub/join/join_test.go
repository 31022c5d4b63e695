package join_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cloud is a CA with its handler behind TLS, as cloudcore has it.
type cloud struct {
	ca    *join.CA
	store *jointest.Store
	url   string
	now   time.Time // of the handler; zero means the system's
}

func newCloud(t *testing.T, hosts ...string) *cloud {
	t.Helper()
	ca, err := join.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{ca: ca, store: &jointest.Store{}}
	h, err := join.NewHandler(join.HandlerConfig{CA: ca, Tokens: c.store, Names: c.store, Now: func() time.Time {
		if c.now.IsZero() {
			return time.Now()
		}
		return c.now
	}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueServer(time.Now(), append(hosts, "cloud.test")...)
	if err != nil {
		t.Fatal(err)
	}
	c.url = serve(t, h, ca.ServerTLS(func() (*tls.Certificate, error) { return &cert, nil }))
	return c
}

// serve answers on loopback until the test ends. (httptest's own TLS server
// would show its own certificate where TLS tells no name.)
func serve(t testing.TB, h http.Handler, cfg *tls.Config) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, TLSConfig: cfg, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return "https://" + l.Addr().String()
}

func (c *cloud) token(nodes string, life time.Duration) join.Token {
	tok := join.NewToken(c.ca.Pin())
	c.store.Add(tok.Record(nodes, time.Now().Add(life)))
	return tok
}

func request(c *cloud, tok join.Token, node string) join.Request {
	return join.Request{URL: c.url, Token: tok.String(), Node: node}
}

func TestJoin(t *testing.T) {
	c := newCloud(t, "127.0.0.1")
	cred, err := join.Join(t.Context(), request(c, c.token("edge-*", time.Hour), "edge-1"))
	if err != nil {
		t.Fatal(err)
	}
	if cred.Node != "edge-1" || cred.Leaf.Subject.CommonName != "system:node:edge-1" || cred.Leaf.Subject.Organization[0] != "system:nodes" {
		t.Fatalf("joined as %q, subject %q", cred.Node, cred.Leaf.Subject)
	}
	dir := filepath.Join(t.TempDir(), "new", "folder")
	if err := cred.Save(dir); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, join.File))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Fatalf("left behind: %v", left)
	}
	back, err := join.LoadCredentials(dir)
	if err != nil || back.Node != "edge-1" || !back.Key.Equal(cred.Key) || !back.Leaf.Equal(cred.Leaf) {
		t.Fatal(back.Node, err)
	}
}

func TestJoinRefusals(t *testing.T) {
	c, other := newCloud(t, "127.0.0.1"), newCloud(t, "127.0.0.1")
	noName := newCloud(t)
	used := c.token("edge-*", time.Hour)
	if _, err := join.Join(t.Context(), request(c, used, "edge-1")); err != nil {
		t.Fatal(err)
	}
	wrong := c.token("*", time.Hour)
	wrong.Secret = "guess"
	foreign := c.token("*", time.Hour)
	foreign.Pin = other.ca.Pin()
	for _, tt := range []struct {
		name string
		req  join.Request
		want error
	}{
		{"no token", join.Request{URL: c.url, Token: "edgekit.abc", Node: "edge-2"}, join.ErrTokenMalformed},
		{"unknown token", request(c, join.NewToken(c.ca.Pin()), "edge-2"), join.ErrTokenInvalid},
		{"wrong secret", request(c, wrong, "edge-2"), join.ErrTokenInvalid},
		{"expired", request(c, c.token("*", -time.Second), "edge-2"), join.ErrTokenExpired},
		{"used", request(c, used, "edge-2"), join.ErrTokenUsed},
		{"other name", request(c, c.token("gate-*", time.Hour), "edge-2"), join.ErrTokenNode},
		{"bad name", request(c, c.token("*", time.Hour), "Edge_2"), join.ErrNodeName},
		{"name in use", request(c, c.token("*", time.Hour), "edge-1"), join.ErrNameInUse},
		{"wrong pin", request(c, foreign, "edge-2"), join.ErrPin},
		{"wrong host", request(noName, noName.token("*", time.Hour), "edge-2"), join.ErrServerName},
		{"nobody there", join.Request{URL: "https://127.0.0.1:1", Token: wrong.String(), Node: "edge-2"}, join.ErrUnreachable},
		{"no address", join.Request{URL: "cloud", Token: wrong.String(), Node: "edge-2"}, join.ErrUnreachable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := join.Join(t.Context(), tt.req)
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %q", err)
			}
			t.Log(err)
		})
	}
	// A name that was refused left the token good for another.
	tok := c.token("*", time.Hour)
	if _, err := join.Join(t.Context(), request(c, tok, "edge-1")); !errors.Is(err, join.ErrNameInUse) {
		t.Fatal(err)
	}
	if _, err := join.Join(t.Context(), request(c, tok, "edge-3")); err != nil {
		t.Fatal(err)
	}
}

func TestJoinAgainWithTheSameKey(t *testing.T) {
	c := newCloud(t, "127.0.0.1")
	tok := c.token("edge-1", time.Hour)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := join.JoinWithKey(t.Context(), request(c, tok, "edge-1"), key); err != nil {
			t.Fatal(err)
		}
	}
}

// failingTokens loses the race for a token between its check and its use.
type failingTokens struct{ join.Tokens }

func (failingTokens) Use(context.Context, string, string, string) error { return join.ErrTokenUsed }

func TestLostRaceFreesTheName(t *testing.T) {
	c := newCloud(t, "127.0.0.1")
	h, err := join.NewHandler(join.HandlerConfig{CA: c.ca, Tokens: failingTokens{c.store}, Names: c.store})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := c.ca.IssueServer(time.Now(), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	req := request(c, c.token("*", time.Hour), "edge-1")
	req.URL = serve(t, h, c.ca.ServerTLS(func() (*tls.Certificate, error) { return &cert, nil }))
	if _, err := join.Join(t.Context(), req); !errors.Is(err, join.ErrTokenUsed) {
		t.Fatal(err)
	}
	if fresh, err := c.store.Claim(t.Context(), "edge-1", "k"); !fresh || err != nil {
		t.Fatal("the name stayed claimed", err)
	}
}

func TestRenew(t *testing.T) {
	c := newCloud(t, "127.0.0.1")
	cred, err := join.Join(t.Context(), request(c, c.token("*", time.Hour), "edge-1"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	id, err := join.NewIdentity(join.IdentityConfig{Credentials: cred, URL: c.url, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	c.now = time.Now().Add(2 * time.Minute)
	if err := id.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := id.Credentials()
	if !got.Leaf.NotAfter.After(cred.Leaf.NotAfter) || !got.Key.Equal(cred.Key) {
		t.Fatalf("until %v, before %v", got.Leaf.NotAfter, cred.Leaf.NotAfter)
	}
	saved, err := join.LoadCredentials(dir)
	if err != nil || !saved.Leaf.Equal(got.Leaf) {
		t.Fatal(err)
	}
	c.store.Forget("edge-1")
	if err := id.Renew(t.Context()); !errors.Is(err, join.ErrIdentity) {
		t.Fatal("renewed a node that was removed:", err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.ca.Pool()}, DisableKeepAlives: true}}).
		Post(c.url+join.RenewPath, "application/json", strings.NewReader("{}"))
	if err != nil || resp.StatusCode != http.StatusForbidden {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
}

func TestClock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clock")
	c, err := join.NewClock(path)
	if err != nil {
		t.Fatal(err)
	}
	future := time.Now().Add(1000 * time.Hour)
	c.Learn(future)
	c.Learn(time.Now())
	again, err := join.NewClock(path)
	if err != nil || c.Err() != nil {
		t.Fatal(err, c.Err())
	}
	for _, c := range []*join.Clock{c, again} {
		if d := c.Now().Sub(future); d < -time.Second || d > time.Minute {
			t.Fatal("off by", d)
		}
	}
	var system *join.Clock
	system.Learn(future)
	if time.Since(system.Now()) > time.Minute {
		t.Fatal("a nil Clock is the system's")
	}
}

// A machine whose clock is far behind accepts a server whose certificate is
// not valid yet by that clock, and knows better afterwards.
func TestLateClock(t *testing.T) {
	ca, err := join.NewCA("test", time.Now().Add(500*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := ca.IssueServer(time.Now().Add(1000*time.Hour), "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	store := &jointest.Store{}
	h, err := join.NewHandler(join.HandlerConfig{CA: ca, Tokens: store, Names: store, Now: func() time.Time { return time.Now().Add(2000 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := ca.ServerTLS(func() (*tls.Certificate, error) { return &cert, nil })
	cfg.Time = func() time.Time { return time.Now().Add(2000 * time.Hour) }
	url := serve(t, h, cfg)
	tok := join.NewToken(ca.Pin())
	store.Add(tok.Record("*", time.Now().Add(3000*time.Hour)))
	clock, err := join.NewClock("")
	if err != nil {
		t.Fatal(err)
	}
	cred, err := join.Join(t.Context(), join.Request{URL: url, Token: tok.String(), Node: "edge-1", Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	if ahead := time.Until(clock.Now()); ahead < 1999*time.Hour {
		t.Fatal("the clock learned only", ahead)
	}
	id, err := join.NewIdentity(join.IdentityConfig{Credentials: cred, URL: url})
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDamagedCredentials(t *testing.T) {
	dir := t.TempDir()
	if _, err := join.LoadCredentials(dir); !errors.Is(err, join.ErrNoCredentials) {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, join.File), []byte("-----BEGIN"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := join.LoadCredentials(dir); !errors.Is(err, join.ErrCredentials) {
		t.Fatal(err)
	}
}

func TestCA(t *testing.T) {
	ca, err := join.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	key, err := ca.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	again, err := join.LoadCA(ca.CertificatePEM(), key)
	if err != nil || again.Pin() != ca.Pin() {
		t.Fatal(err)
	}
	if _, err := join.LoadCA(ca.CertificatePEM(), []byte("x")); err == nil {
		t.Fatal("loaded a CA without its key")
	}
	if _, err := ca.IssueServer(time.Now()); err == nil {
		t.Fatal("issued a certificate for no host")
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(join.NewToken(strings.Repeat("ab", 32)).String())
	f.Add("edgekit.a.b.c")
	f.Add("...")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := join.ParseToken(s)
		if err != nil {
			return
		}
		if again, err := join.ParseToken(tok.String()); err != nil || again != tok {
			t.Fatal(again, err)
		}
	})
}
