package nodejoin

import (
	"context"
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

	"github.com/edgekit/edgekit/hub/join"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// approving is a cloud where joins wait for an operator; it returns its address.
func approving(t *testing.T) (*jointest.Cloud, string) {
	t.Helper()
	c := jointest.NewCloud(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := c.Handler(func(cfg *join.HandlerConfig) { cfg.ApproveAll = true })
	srv := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(tls.NewListener(l, c.ServerTLS()))
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return c, l.Addr().String()
}

// TestWait: a join that waits goes on after a restart, by what is in the data folder.
func TestWait(t *testing.T) {
	c, addr := approving(t)
	dir := filepath.Join(t.TempDir(), "data")
	req := Request{DataDir: dir, Cloud: addr, Token: c.Token("edge-1").String(), Node: "edge-1"}
	if _, ok, err := LoadWaiting(dir); ok || err != nil {
		t.Fatal(err)
	}
	if _, err := Wait(t.Context(), dir, nil); err == nil {
		t.Fatal("nothing waits")
	}
	for range 2 { // the command may be repeated
		if _, err := Join(t.Context(), req); !errors.Is(err, join.ErrPending) {
			t.Fatal(err)
		}
	}
	w, ok, err := LoadWaiting(dir)
	if a, waits := c.Waiting("edge-1"); err != nil || !ok || !waits || w.KeyHash != a.KeyHash || w.Joined {
		t.Fatalf("%+v, %t, %v", w, ok, err)
	}
	if info, err := os.Stat(filepath.Join(dir, IdentityDir, waitingFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Wait(ctx, dir, func(error, time.Duration) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := c.Decide("edge-1", true); err != nil {
		t.Fatal(err)
	}
	if _, err := Wait(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	st, err := Load(dir)
	if err != nil || st.Credentials.Node != "edge-1" || st.Cloud != addr {
		t.Errorf("%+v, %v", st, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, IdentityDir, "*")); err != nil || strings.Contains(strings.Join(left, " "), "waiting") || strings.Contains(strings.Join(left, " "), "pending") {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestWaitDenied: a machine that was denied keeps neither the key nor the token.
func TestWaitDenied(t *testing.T) {
	c, addr := approving(t)
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := Join(t.Context(), Request{DataDir: dir, Cloud: addr, Token: c.Token("edge-1").String(), Node: "edge-1"}); !errors.Is(err, join.ErrPending) {
		t.Fatal(err)
	}
	if err := c.Decide("edge-1", false); err != nil {
		t.Fatal(err)
	}
	if _, err := Wait(t.Context(), dir, nil); !errors.Is(err, join.ErrRevoked) {
		t.Error(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, IdentityDir, "*.*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestWaitingDamaged: the file says what to do.
func TestWaitingDamaged(t *testing.T) {
	for _, text := range []string{"", "{", "{}", `{"cloud":"c:1","node":"n"}`} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, IdentityDir), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, IdentityDir, waitingFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, ok, err := LoadWaiting(dir); ok || err == nil || !strings.Contains(err.Error(), "join again") {
			t.Errorf("%q: %t, %v", text, ok, err)
		}
	}
}

func TestHardware(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing": {nil, ""},
		"a PC":    {map[string]string{"sys/class/dmi/id/product_name": "Box 3\n", "sys/class/dmi/id/product_serial": "None\n", "sys/class/dmi/id/product_uuid": "47-11\n", "etc/machine-id": "x\n"}, "Box 3, uuid 47-11"},
		"a board": {map[string]string{"proc/device-tree/model": "Pi 5\x00", "proc/device-tree/serial-number": "1000\x00", "etc/machine-id": "x\n"}, "Pi 5, serial 1000"},
		"neither": {map[string]string{"etc/machine-id": "abc\n"}, "machine-id abc"},
	} {
		root := t.TempDir()
		for path, text := range tt.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := hardware(root); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
