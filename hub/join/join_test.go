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
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cloud answers joins and renewals on loopback, as cloudcore does.
type cloud struct {
	*jointest.Cloud
	url string
}

func newCloud(t *testing.T, hosts ...string) *cloud {
	t.Helper()
	c := &cloud{Cloud: jointest.NewCloud(t, hosts...)}
	c.url = serve(t, c.Handler(), c.ServerTLS())
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

// token makes one that is valid for life, which may be over.
func (c *cloud) token(nodes string, life time.Duration) join.Token {
	tok := join.NewToken(c.Keyring.Pin())
	c.Add(tok.Record(nodes, time.Now().Add(life)))
	return tok
}

// joined is a node that has just joined.
func (c *cloud) joined(t *testing.T, node string) join.Credentials {
	t.Helper()
	cred, err := join.Join(t.Context(), request(c, c.Token(node), node))
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func identity(t *testing.T, c *cloud, cred join.Credentials, edit ...func(*join.IdentityConfig)) *join.Identity {
	t.Helper()
	cfg := join.IdentityConfig{Credentials: cred, URL: c.url}
	for _, f := range edit {
		f(&cfg)
	}
	id, err := join.NewIdentity(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func request(c *cloud, tok join.Token, node string) join.Request {
	return join.Request{URL: c.url, Token: tok.String(), Node: node}
}

func TestJoin(t *testing.T) {
	c := newCloud(t)
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
	if err != nil || back.Node != "edge-1" || !join.SameKey(back.Key, cred.Key) || !back.Leaf.Equal(cred.Leaf) {
		t.Fatal(back.Node, err)
	}
}

func TestJoinRefusals(t *testing.T) {
	c, other := newCloud(t), newCloud(t)
	noName := newCloud(t, "cloud.test")
	used := c.token("edge-*", time.Hour)
	if _, err := join.Join(t.Context(), request(c, used, "edge-1")); err != nil {
		t.Fatal(err)
	}
	wrong := c.token("*", time.Hour)
	wrong.Secret = "guess"
	foreign := c.token("*", time.Hour)
	foreign.Pin = other.CA.Pin()
	for _, tt := range []struct {
		name string
		req  join.Request
		want error
	}{
		{"no token", join.Request{URL: c.url, Token: "edgekit.abc", Node: "edge-2"}, join.ErrTokenMalformed},
		{"unknown token", request(c, join.NewToken(c.CA.Pin()), "edge-2"), join.ErrTokenInvalid},
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
	c := newCloud(t)
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
	c := newCloud(t)
	req := request(c, c.token("*", time.Hour), "edge-1")
	req.URL = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.Tokens = failingTokens{cfg.Tokens} }), c.ServerTLS())
	if _, err := join.Join(t.Context(), req); !errors.Is(err, join.ErrTokenUsed) {
		t.Fatal(err)
	}
	if fresh, err := c.Claim(t.Context(), "edge-1", "k"); !fresh || err != nil {
		t.Fatal("the name stayed claimed", err)
	}
}

// Of many machines that ask for one name at once one gets it, and the tokens of
// the others stay good.
func TestOneNameAtOnce(t *testing.T) {
	c := newCloud(t)
	const machines = 8
	tokens := make([]join.Token, machines)
	errs := make([]error, machines)
	var wg sync.WaitGroup
	for i := range machines {
		tokens[i] = c.token("*", time.Hour)
		wg.Go(func() { _, errs[i] = join.Join(t.Context(), request(c, tokens[i], "edge-1")) })
	}
	wg.Wait()
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			continue
		}
		if !errors.Is(err, join.ErrNameInUse) {
			t.Errorf("machine %d: %v", i, err)
		}
		if r, err := c.Cloud.Store.Token(t.Context(), tokens[i].ID); err != nil || r.UsedBy != "" {
			t.Errorf("the token of machine %d: %+v, %v", i, r, err)
		}
	}
	if won != 1 {
		t.Errorf("%d machines have the name", won)
	}
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

// TestDamagedCredentials: whatever part of the file is cut off or changed, the error says
// that it is damaged and what to do.
func TestDamagedCredentials(t *testing.T) {
	dir := t.TempDir()
	if _, err := join.LoadCredentials(dir); !errors.Is(err, join.ErrNoCredentials) {
		t.Fatal(err)
	}
	c := newCloud(t)
	if err := c.joined(t, "edge-1").Save(dir); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, join.File)
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.joined(t, "edge-2").Save(dir); err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	block := func(b []byte, n int) string { // the n-th block and what comes after
		parts := strings.SplitAfter(string(b), "-----\n")
		return strings.Join(parts[2*n:], "")
	}
	key := strings.TrimSuffix(string(whole), block(whole, 1))
	for name, text := range map[string]string{
		"empty": "", "a beginning": "-----BEGIN", "the first half": string(whole[:len(whole)/2]),
		"no key": block(whole, 1), "no certificate": key + block(whole, 2), "no authority": strings.TrimSuffix(string(whole), block(whole, 2)),
		"another one's certificate": key + block(other, 1), "zeros": string(make([]byte, len(whole))),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, join.File), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := join.LoadCredentials(dir); !errors.Is(err, join.ErrCredentials) || !strings.Contains(err.Error(), "join again") {
				t.Fatal(err)
			}
		})
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
