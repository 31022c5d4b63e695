package main

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTarThereAndBack(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(from, "a", "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(from, "a", "b", "f"), []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	t.Chdir(from)
	if err := tarCommand([]string{"cf", "-", "a"}, nil, &archive); err != nil {
		t.Fatal(err)
	}
	if err := tarCommand([]string{"--no-same-owner", "-xmf", "-", "-C", to}, &archive, nil); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(filepath.Join(to, "a", "b", "f")); string(text) != "text" || err != nil {
		t.Errorf("%q %v", text, err)
	}
}

func TestConsole(t *testing.T) {
	var out strings.Builder
	err := console(strings.NewReader("hello\nexit 3\n"), &out)
	if !errors.Is(err, exitCode(3)) || !strings.HasSuffix(out.String(), "heard hello\n") {
		t.Errorf("%q %v", out.String(), err)
	}
}

// TestCheck compares a health check's answer with the bytes of the protocol.
func TestCheck(t *testing.T) {
	for path, want := range map[string][2]string{
		"/grpc.health.v1.Health/Check": {"\x00\x00\x00\x00\x02\x08\x01", "0"},
		"/grpc.health.v1.Health/Watch": {"", "12"},
	} {
		w := httptest.NewRecorder()
		check(w, httptest.NewRequest(http.MethodPost, path, nil))
		got := w.Result()
		body, err := io.ReadAll(got.Body)
		status := cmp.Or(got.Trailer.Get("Grpc-Status"), got.Header.Get("Grpc-Status"))
		if err != nil || string(body) != want[0] || status != want[1] || got.Header.Get("Content-Type") != "application/grpc" {
			t.Errorf("%s: %q, status %q, %v", path, body, status, err)
		}
	}
}

func TestVolume(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b")
	for _, step := range []struct {
		action string
		want   bool
	}{{"create", true}, {"create", true}, {"delete", false}, {"delete", false}} {
		err := volume([]string{"-p", path, "-s", "1024", "-m", "Filesystem", "-a", step.action})
		if _, there := os.Stat(path); err != nil || (there == nil) != step.want {
			t.Errorf("%s: %v, %v", step.action, err, there)
		}
	}
	for _, args := range [][]string{{"-a", "create"}, {"-p", path}, {"-p", path, "-a", "grow"}} {
		if err := volume(args); err == nil {
			t.Errorf("%q is no error", args)
		}
	}
}
