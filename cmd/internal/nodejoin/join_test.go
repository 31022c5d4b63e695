package nodejoin

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// TestJoin: a machine joins once, unless its identity is to be replaced.
func TestJoin(t *testing.T) {
	c := jointest.NewCloud(t)
	srv := httptest.NewUnstartedServer(c.Handler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.Listener = tls.NewListener(srv.Listener, c.ServerTLS())
	srv.Start()
	defer srv.Close()
	req := Request{DataDir: filepath.Join(t.TempDir(), "data"), Cloud: srv.Listener.Addr().String(), Token: c.Token("edge-1").String(), Node: "edge-1"}
	if _, err := Load(req.DataDir); !errors.Is(err, join.ErrNoCredentials) {
		t.Error("before the join:", err)
	}
	if _, err := Join(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	state, err := Load(req.DataDir)
	if err != nil || state.Credentials.Node != "edge-1" || state.Cloud != req.Cloud {
		t.Errorf("%+v, %v", state, err)
	}
	waits := filepath.Join(req.DataDir, IdentityDir, waitingFile)
	if err := os.WriteFile(waits, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := LoadWaiting(req.DataDir); ok || err != nil {
		t.Error("a damaged file of a join stops a node that has an identity:", ok, err)
	}
	if err := os.Remove(waits); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), req); !errors.Is(err, ErrJoined) {
		t.Error("joined twice:", err)
	}
	if err := os.WriteFile(filepath.Join(req.DataDir, IdentityDir, cloudFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if state, err := Load(req.DataDir); err != nil || state.Cloud != "" {
		t.Error("a damaged address is none:", state.Cloud, err)
	}
	req.Cloud = "cloud.example"
	var usage *program.UsageError
	if _, err := Join(t.Context(), req); !errors.As(err, &usage) || usage.Setting != "cloud" {
		t.Error("an address without a port:", err)
	}
}

func TestNodeName(t *testing.T) {
	if name, err := NodeName(""); err != nil || name == "" || strings.ToLower(name) != name {
		t.Errorf("%q, %v", name, err)
	}
	var usage *program.UsageError
	for _, bad := range []string{"Edge 1", "a/b", "-x", "edge\n"} {
		if _, err := NodeName(bad); !errors.As(err, &usage) || usage.Setting != "node" {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
