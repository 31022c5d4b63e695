package journal

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// TestRun: what the program prints is bounded, and why it failed is said.
func TestRun(t *testing.T) {
	echo, err := exec.LookPath("echo")
	if err != nil {
		t.Skip(err)
	}
	if text, err := run(exec.CommandContext(t.Context(), echo, "the line")); err != nil || string(text) != "the line\n" {
		t.Errorf("%q, %v", text, err)
	}
	ls, err := exec.LookPath("ls")
	if err != nil {
		t.Skip(err)
	}
	if _, err := run(exec.CommandContext(t.Context(), ls, "/there/is/no/such/file")); err == nil || !strings.Contains(err.Error(), "such") {
		t.Errorf("%v", err)
	}
}

// TestEdgecore: on any machine there is an answer.
func TestEdgecore(t *testing.T) {
	if _, err := Edgecore(t.Context()); err != nil && !errors.Is(err, ErrNone) && !strings.HasPrefix(err.Error(), "journal: ") {
		t.Error(err)
	}
}
