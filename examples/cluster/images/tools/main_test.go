package main

import (
	"bytes"
	"errors"
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
