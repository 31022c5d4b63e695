package join_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
)

func keysOf(t *testing.T, c *cloud, node string) []string {
	t.Helper()
	keys, err := c.Keys(t.Context(), node)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

// TestRenewBringsANewKey: each renewal is for a new key. The key before no longer has the
// name, and a copy of it is worthless.
func TestRenewBringsANewKey(t *testing.T) {
	for name, dir := range map[string]string{"saved": t.TempDir(), "in memory": ""} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			stolen := c.joined(t, "edge-1")
			id := identity(t, c, stolen, func(cfg *join.IdentityConfig) { cfg.Dir = dir })
			seen := []string{join.KeyHash(stolen.Leaf)}
			for range 3 {
				if err := id.Renew(t.Context()); err != nil {
					t.Fatal(err)
				}
				key := join.KeyHash(id.Credentials().Leaf)
				if slices.Contains(seen, key) {
					t.Fatal("a renewal kept the key")
				}
				seen = append(seen, key)
				if got := keysOf(t, c, "edge-1"); !slices.Equal(got, []string{key}) {
					t.Fatalf("%d keys have the name, the newest is the new one: %t", len(got), got[0] == key)
				}
			}
			if err := identity(t, c, stolen).Renew(t.Context()); !errors.Is(err, join.ErrIdentity) {
				t.Error("a copy of the first key was renewed:", err)
			}
			if dir == "" {
				return
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestRenewIsCutAnywhere ends a renewal between any two of its steps, as a power cut
// does. What is on disk then is a working identity: it links and it renews.
func TestRenewIsCutAnywhere(t *testing.T) {
	for _, step := range []string{
		"before the key is on disk", "while the key is written", "before the request", "the answer is lost", "before the new identity is on disk",
		"while the new identity is written", "before the new identity is renamed", "before the kept key is removed", "before the new key is shown", "done",
	} {
		t.Run(step, func(t *testing.T) {
			c := newCloud(t)
			dir := t.TempDir()
			cred := c.joined(t, "edge-1")
			if err := cred.Save(dir); err != nil {
				t.Fatal(err)
			}
			file, kept := filepath.Join(dir, join.File), filepath.Join(dir, join.RenewalFile)
			before := read(t, file)
			var key []byte
			url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == join.RenewPath {
					key = read(t, kept) // durable before the cloud hears of it
				}
				switch {
				case step == "before the request", step != "done" && r.URL.Path == join.TrustPath:
					panic(http.ErrAbortHandler)
				case step == "the answer is lost":
					c.Handler().ServeHTTP(httptest.NewRecorder(), r)
					panic(http.ErrAbortHandler)
				}
				c.Handler().ServeHTTP(w, r)
			}), c.ServerTLS())
			if step != "before the key is on disk" && step != "while the key is written" {
				err := identity(t, c, cred, func(cfg *join.IdentityConfig) { cfg.Dir, cfg.URL = dir, url }).Renew(t.Context())
				if lost := step == "before the request" || step == "the answer is lost"; lost != (err != nil) {
					t.Fatal(err)
				}
			}
			switch step { // what the disk has if the power was cut there
			case "while the key is written":
				write(t, filepath.Join(dir, ".renewal.pem-47"), before[:20])
			case "before the new identity is on disk":
				write(t, file, before)
				write(t, kept, key)
			case "while the new identity is written", "before the new identity is renamed":
				written := read(t, file)
				if step == "while the new identity is written" {
					written = written[:len(written)/2]
				}
				write(t, filepath.Join(dir, ".identity.pem-11"), written)
				write(t, file, before)
				write(t, kept, key)
			case "before the kept key is removed":
				write(t, kept, key)
			}
			for again := range 3 {
				now, err := join.LoadCredentials(dir)
				if err != nil {
					t.Fatal(err)
				}
				g := newGuard(t, c, nil)
				if _, err := g.Attach(t.Context(), helloOf(now)); err != nil {
					t.Fatalf("link %d: %v", again, err)
				}
				id := identity(t, c, now, func(cfg *join.IdentityConfig) { cfg.Dir = dir })
				if err := id.Renew(t.Context()); err != nil {
					t.Fatalf("renewal %d: %v", again, err)
				}
				if join.SameKey(id.Credentials().Key, now.Key) {
					t.Errorf("renewal %d kept the key", again)
				}
			}
			if got := keysOf(t, c, "edge-1"); len(got) != 1 {
				t.Errorf("%d keys have the name", len(got))
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
				t.Errorf("keys are left behind: %v, %v", left, err)
			}
		})
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return b
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// onlyNames is a Names without KeyReplacer, as in earlier versions.
type onlyNames struct{ join.Names }

// TestRenewOfOtherVersions: a node of an earlier version keeps its key, and an earlier
// cloud, or one whose Names cannot replace keys, renews the old key.
func TestRenewOfOtherVersions(t *testing.T) {
	t.Run("cloud", func(t *testing.T) {
		c := newCloud(t)
		c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.Names = onlyNames{cfg.Names} }), c.ServerTLS())
		cred := c.joined(t, "edge-1")
		id := identity(t, c, cred)
		if err := id.Renew(t.Context()); err != nil || !join.SameKey(id.Credentials().Key, cred.Key) {
			t.Error(err)
		}
	})
	t.Run("node", func(t *testing.T) {
		c := newCloud(t)
		cred := c.joined(t, "edge-1")
		for range 2 {
			if err := join.RenewAsBefore(t.Context(), c.url, cred); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestRenewNeedsBothKeys: somebody who has a certificate without its key cannot renew it
// for another key.
func TestRenewNeedsBothKeys(t *testing.T) {
	c := newCloud(t)
	cred := c.joined(t, "edge-1")
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, proof := range map[string]crypto.Signer{"no proof": nil, "proof by the new key": own} {
		if err := join.RenewFor(t.Context(), c.url, cred, own, proof); !errors.Is(err, join.ErrIdentity) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := join.RenewFor(t.Context(), c.url, cred, own, cred.Key); err != nil {
		t.Error(err)
	}
}

func newGuard(t *testing.T, c *cloud, ended *[]string) *join.Guard {
	t.Helper()
	g, err := join.NewGuard(join.GuardConfig{
		Directory: &hubtest.Directory{}, Names: &c.Store,
		Disconnect: func(node string, reason *hub.Error) error {
			*ended = append(*ended, node+": "+reason.Text)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func helloOf(cred join.Credentials) hub.Hello {
	return hub.Hello{Node: cred.Node, Peer: hub.Peer{Name: cred.Node, Certificate: cred.Leaf}}
}

// TestReleased: the operator has released a name, and a new machine has joined with it. A
// machine with the old disk comes back: its certificate is still valid, but it is
// refused. Its session, if there was one, ended when the name was released.
func TestReleased(t *testing.T) {
	for _, heard := range []bool{false, true} { // by the watch
		c := newCloud(t)
		var ended []string
		g := newGuard(t, c, &ended)
		hold := func() {
			if heard {
				g.Hold("a", keysOf(t, c, "a"))
			}
		}
		attach := func(cred join.Credentials) (hub.Node, error) { return g.Attach(t.Context(), helloOf(cred)) }
		old := c.joined(t, "a")
		hold()
		node, err := attach(old)
		if err != nil {
			t.Fatal(err)
		}
		node.Connected(hub.Info{Node: "a", Connected: true})
		late, err := attach(old) // its session begins after the release
		if err != nil {
			t.Fatal(err)
		}
		c.Forget("a")
		hold()
		if heard && (len(ended) != 1 || !strings.Contains(ended[0], "freed")) {
			t.Errorf("the session of the old machine stands: %q", ended)
		}
		late.Connected(hub.Info{Node: "a", Connected: true})
		if heard && len(ended) != 2 {
			t.Errorf("a session of the old machine slipped through: %q", ended)
		}
		if _, err := attach(old); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
			t.Error("a freed name's old key:", err)
		}
		fresh := c.joined(t, "a") // the watch may not know of it yet
		for range 2 {
			if _, err := attach(fresh); err != nil {
				t.Error("the new machine:", err)
			}
			if _, err := attach(old); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
				t.Error("the old key:", err)
			}
			hold()
		}
	}
}

// TestGuardFollowsRenewals: a renewed node keeps its session, whatever its key, and the
// first connection with the new key makes the old one invalid.
func TestGuardFollowsRenewals(t *testing.T) {
	c := newCloud(t)
	var ended []string
	g := newGuard(t, c, &ended)
	hold := func() { g.Hold("a", keysOf(t, c, "a")) }
	old := c.joined(t, "a")
	hold()
	node, err := g.Attach(t.Context(), helloOf(old))
	if err != nil {
		t.Fatal(err)
	}
	node.Connected(hub.Info{Node: "a", Connected: true})
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := join.RenewFor(t.Context(), c.url, old, own, old.Key); err != nil { // and the answer is lost
		t.Fatal(err)
	}
	hold()
	if _, err := g.Attach(t.Context(), helloOf(old)); err != nil {
		t.Error("the old key, before the new one was used:", err)
	}
	leaf, err := c.CA.IssueNode(own.Public(), "a", time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Attach(t.Context(), helloOf(join.Credentials{Node: "a", Leaf: leaf})); err != nil {
		t.Error("the new key:", err)
	}
	hold()
	if len(ended) != 0 {
		t.Errorf("the session that stood was ended: %q", ended)
	}
	if _, err := g.Attach(t.Context(), helloOf(old)); !errors.Is(err, &hub.Error{Code: hub.CodeForbidden}) {
		t.Error("the old key, after the new one was used:", err)
	}
}

// failingNames is a store that cannot be reached.
type failingNames struct{ join.Names }

func (failingNames) Holder(context.Context, string) (string, error) { return "", errors.New("timeout") }

// TestGuardWithoutStore: known keys connect, others are asked to come back and not
// refused.
func TestGuardWithoutStore(t *testing.T) {
	c := newCloud(t)
	g, err := join.NewGuard(join.GuardConfig{
		Directory: &hubtest.Directory{}, Names: failingNames{}, Disconnect: func(string, *hub.Error) error { return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	known, other := c.joined(t, "a"), c.joined(t, "b")
	g.Hold("a", keysOf(t, c, "a"))
	if _, err := g.Attach(t.Context(), helloOf(known)); err != nil {
		t.Error(err)
	}
	if _, err := g.Attach(t.Context(), helloOf(other)); !errors.Is(err, &hub.Error{Code: hub.CodeUnavailable}) {
		t.Error(err)
	}
}

// freedNames is a store in which every name was freed, with its Node left.
type freedNames struct{ join.Names }

func (freedNames) Freed(context.Context, string) (bool, error) { return true, nil }

// TestPatternTakesNoFreedName: a token for a pattern does not give a freed name, whose
// Node and pods may still exist.
func TestPatternTakesNoFreedName(t *testing.T) {
	c := newCloud(t)
	c.url = serve(t, c.Handler(func(cfg *join.HandlerConfig) { cfg.Names = freedNames{cfg.Names} }), c.ServerTLS())
	_, err := join.Join(t.Context(), request(c, c.Token("edge-*"), "edge-1"))
	if !errors.Is(err, join.ErrTokenNode) || !strings.Contains(err.Error(), "create a token for that name alone") {
		t.Error(err)
	}
	if _, err := join.Join(t.Context(), request(c, c.Token("edge-1"), "edge-1")); err != nil {
		t.Error(err)
	}
}
