package hub_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/hub/hubtest"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
	"github.com/edgekit/edgekit/hub/memconn"
)

// TestLifecycle walks every type of hub and the packages below it that has a Run or a
// Serve: it returns nil when its context is cancelled, and a second call, during the
// first or after it, returns hub.ErrStarted. TestMain sees to it that nothing goes on.
func TestLifecycle(t *testing.T) {
	types := map[string]func(t *testing.T) func(context.Context) error{
		"hub.Client": func(t *testing.T) func(context.Context) error {
			return newClient(t, memconn.New(memconn.Config{}), "a", nil).Run
		},
		"hub.Server": func(t *testing.T) func(context.Context) error {
			return newServer(t, hub.ServerConfig{Listener: memconn.New(memconn.Config{}), Directory: &hubtest.Directory{}}).Run
		},
		"join.Identity": func(t *testing.T) func(context.Context) error { return newIdentity(t).Run },
	}
	for name, construct := range types {
		t.Run(name, func(t *testing.T) {
			run := construct(t)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 2)
			// One of the two is the first, whichever that is.
			for range 2 {
				go func() { ended <- run(ctx) }()
			}
			if err := <-ended; !errors.Is(err, hub.ErrStarted) {
				t.Errorf("a Run beside another returned %v", err)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("a cancelled Run returned %v", err)
			}
			if err := run(t.Context()); !errors.Is(err, hub.ErrStarted) {
				t.Errorf("a Run after another returned %v", err)
			}
		})
	}
	for _, name := range runners(t) {
		if types[name] == nil {
			t.Errorf("%s has a Run or Serve and is not in this table", name)
		}
	}
}

// runners lists the exported types below this folder whose exported method Run or Serve
// takes a context.
func runners(t *testing.T) []string {
	var out []string
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || f.Recv == nil || f.Name.Name != "Run" && f.Name.Name != "Serve" {
				continue
			}
			of := f.Recv.List[0].Type
			if p, ok := of.(*ast.StarExpr); ok {
				of = p.X
			}
			if name, ok := of.(*ast.Ident); ok && name.IsExported() {
				out = append(out, file.Name.Name+"."+name.Name)
			}
		}
		return nil
	})
	if err != nil || len(out) == 0 {
		t.Fatalf("%v, %v", out, err)
	}
	slices.Sort(out)
	return out
}

// newIdentity makes the identity of a node whose cloud is not there.
func newIdentity(t *testing.T) *join.Identity {
	t.Helper()
	c := jointest.NewCloud(t)
	pair := c.ClientTLS("a").Certificates[0]
	id, err := join.NewIdentity(join.IdentityConfig{URL: "https://127.0.0.1:1", Credentials: join.Credentials{
		Node: "a", Key: pair.PrivateKey.(*ecdsa.PrivateKey), Leaf: pair.Leaf, Roots: []*x509.Certificate{c.CA.Certificate()},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestConfigIsCopied alters a caller's slices after New: the Client and the Server keep
// what they were given.
func TestConfigIsCopied(t *testing.T) {
	n, dir := memconn.New(memconn.Config{}), &hubtest.Directory{}
	capabilities := []string{"mine"}
	server := newServer(t, hub.ServerConfig{Listener: n, Directory: dir, Capabilities: capabilities})
	defer program(t, server.Run)()
	connected := make(chan hub.Info, 4)
	watchers := []func(hub.Info){func(i hub.Info) { connected <- i }}
	client := newClient(t, n, "a", func(cfg *hub.ClientConfig) { cfg.Connected, cfg.Capabilities = watchers, capabilities })
	watchers[0] = nil
	capabilities[0] = strings.Repeat("x", 1<<20) // would not fit a hello
	defer program(t, client.Run)()
	select {
	case <-connected:
	case <-time.After(10 * time.Second):
		t.Error("no session")
	}
}
