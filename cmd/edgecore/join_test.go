package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/nodejoin"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// serveJoins answers joins on loopback; the answers to the first lost requests
// do not arrive, though the cloud has acted on them.
func serveJoins(t *testing.T, c *jointest.Cloud, lost int) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	joins := c.Handler()
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if lost > 0 {
			lost--
			joins.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		joins.ServeHTTP(w, r)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(l, c.ServerTLS()))
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return l.Addr().String()
}

// TestJoinIsRepeated: the answer to a join is lost; the same command with the
// same token joins all the same.
func TestJoinIsRepeated(t *testing.T) {
	c := jointest.NewCloud(t)
	addr := serveJoins(t, c, 1)
	config := &cli{DataDir: filepath.Join(t.TempDir(), "data")}
	cmd := joinCmd{Cloud: addr, Token: c.Token("edge-1").String(), Node: "edge-1"}
	var out bytes.Buffer
	if err := cmd.Run(t.Context(), config, program.Output{Writer: &out}); !errors.Is(err, join.ErrUnreachable) {
		t.Fatal("the first answer arrived:", err)
	}
	if err := cmd.Run(t.Context(), config, program.Output{Writer: &out}); err != nil {
		t.Fatal("the token was burnt:", err)
	}
	dir := filepath.Join(config.DataDir, identityDir)
	cred, err := join.LoadCredentials(dir)
	if err != nil || cred.Node != "edge-1" {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, join.PendingFile)); !errors.Is(err, os.ErrNotExist) {
		t.Error("the pending key was left behind:", err)
	}
	if err := cmd.Run(t.Context(), config, program.Output{Writer: &out}); err == nil || !strings.Contains(err.Error(), "--replace") {
		t.Error("joined twice:", err)
	}
	// Revoked, it joins anew with a new key, and the identity of before is
	// replaced only then.
	c.Revoke("edge-1", join.KeyHash(cred.Leaf))
	cmd.Replace = true
	if err := cmd.Run(t.Context(), config, program.Output{Writer: &out}); !errors.Is(err, join.ErrTokenUsed) {
		t.Error("a used token was good for another key:", err)
	}
	if same, err := join.LoadCredentials(dir); err != nil || !sameKey(same, cred) {
		t.Error("a join that failed replaced the identity:", err)
	}
	cmd.Token = c.Token("edge-1").String()
	if err := cmd.Run(t.Context(), config, program.Output{Writer: &out}); err != nil {
		t.Fatal(err)
	}
	if anew, err := join.LoadCredentials(dir); err != nil || sameKey(anew, cred) {
		t.Error("the same key:", err)
	}
	cmd.Token = "nonsense"
	usage, ok := errors.AsType[*program.UsageError](cmd.Run(t.Context(), config, program.Output{Writer: &out}))
	if !ok || usage.Setting != "token" {
		t.Error(usage)
	}
}

// TestJoinTokenFile: the token is read from a file, which no list of processes shows.
func TestJoinTokenFile(t *testing.T) {
	c := jointest.NewCloud(t)
	config := &cli{DataDir: filepath.Join(t.TempDir(), "data")}
	file := filepath.Join(t.TempDir(), "token")
	cmd := joinCmd{Cloud: serveJoins(t, c, 0), TokenFile: file, Node: "edge-1"}
	run := func() error { return cmd.Run(t.Context(), config, program.Output{Writer: io.Discard}) }
	for _, bad := range []func() error{
		func() error { return nil }, // there is no file
		func() error { return os.WriteFile(file, []byte("nonsense"), 0o600) },
		func() error { return os.WriteFile(file, bytes.Repeat([]byte("x"), nodejoin.MaxToken+1), 0o600) },
	} {
		if err := bad(); err != nil {
			t.Fatal(err)
		}
		usage, ok := errors.AsType[*program.UsageError](run())
		if !ok || usage.Setting != "token-file" {
			t.Error(usage)
		}
	}
	if err := os.WriteFile(file, []byte(c.Token("edge-1").String()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(); err != nil {
		t.Error(err)
	}
}

func sameKey(a, b join.Credentials) bool { return join.KeyHash(a.Leaf) == join.KeyHash(b.Leaf) }

// TestEdgecoreWaitsForApproval: edgecore goes on with a join that waits, and stops when it
// is asked to.
func TestEdgecoreWaitsForApproval(t *testing.T) {
	c := jointest.NewCloud(t)
	config := &cli{DataDir: filepath.Join(t.TempDir(), "data")}
	token := join.NewToken(c.Keyring.Pin())
	rec := token.Record("edge-1", time.Now().Add(time.Hour))
	rec.Approve = true
	c.Add(rec)
	var out bytes.Buffer
	cmd := joinCmd{Cloud: serveJoins(t, c, 0), Token: token.String(), Node: "edge-1"}
	if err := cmd.Run(t.Context(), config, program.Output{Writer: &out}); err != nil || !strings.Contains(out.String(), "edgectl node approve edge-1 --key ") {
		t.Fatalf("%q, %v", &out, err)
	}
	log := slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := program.UnlessEnded(ctx, waitForApproval(ctx, config.DataDir, log)); err != nil {
		t.Error(err)
	}
	if err := c.Decide("edge-1", true); err != nil {
		t.Fatal(err)
	}
	if err := waitForApproval(t.Context(), config.DataDir, log); err != nil {
		t.Fatal(err)
	}
	if cred, err := join.LoadCredentials(filepath.Join(config.DataDir, identityDir)); err != nil || cred.Node != "edge-1" {
		t.Error(err)
	}
	if err := waitForApproval(t.Context(), config.DataDir, log); err != nil { // nothing waits
		t.Error(err)
	}
}
