package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/edgekit/edgekit/cmd/demo/site"
	"github.com/edgekit/edgekit/cmd/demo/tour"
)

// badInput gives the programs what they cannot work with. Each must end with a
// code that is not 0 and say in one line what is wrong.
func badInput(t *testing.T, s *site.Site) {
	ctx := t.Context()
	token, err := s.Token(ctx, "edge-2")
	if err != nil {
		t.Fatal(err)
	}
	taken, err := s.Token(ctx, tour.Node)
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() string { return filepath.Join(s.Dir(), "nodes", "bad", t.Name()) }
	join := func(cloud, token, node string) []string {
		return []string{"join", "--cloud", cloud, "--token", token, "--node", node, "--data-dir", fresh()}
	}
	running := s.EdgeArgs(tour.Node)
	for _, tt := range []struct {
		name string
		args []string
		want []string // parts of the line, in lower case
	}{
		{"token that is none", join(s.CloudAddress(), "nonsense", "edge-2"), []string{"token"}},
		{"wrong token", join(s.CloudAddress(), spoil(token, secretPart), "edge-2"), []string{"token", "create a new one"}},
		{"wrong pin", join(s.CloudAddress(), spoil(token, pinPart), "edge-2"), []string{"the server is not the one"}},
		{"token of another node", join(s.CloudAddress(), token, "edge-3"), []string{"not for this node name"}},
		{"node name in use", join(s.CloudAddress(), taken, tour.Node), []string{tour.Node, "in use", "edgectl node release"}},
		{"cloud that is not there", join(s.Network().Host().String()+":9", token, "edge-2"), []string{s.Network().Host().String() + ":9"}},
		{"cloud without a port", join("cloud", token, "edge-2"), []string{"cloud"}},
		{"no containerd", replace(running, "--runtime-endpoint", "unix:///run/none.sock"), []string{"/run/none.sock"}},
		{"broken settings file", []string{"--config", write(t, "data-dir: [\n"), "--data-dir", fresh()}, []string{"yaml"}},
		{"unknown setting", []string{"--config", write(t, "no-such-thing: 1\n"), "--data-dir", fresh()}, []string{"no-such-thing"}},
		{"folder in use", running, []string{s.DataDir(tour.Node)}},
		{"folder without identity", replace(running, "--data-dir", t.TempDir()), []string{"join"}},
		{"read-only folder", []string{"join", "--cloud", s.CloudAddress(), "--token", token, "--node", "edge-2", "--data-dir", readOnly(t, s)}, []string{"read-only"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refused(t, s, tt.args, tt.want)
		})
	}
	if r, err := s.Processes().Lookup("edgecore"); err != nil || !r.Alive() {
		t.Errorf("the node's own edgecore did not survive this: %v", err)
	}
}

// refused runs edgecore and checks how it fails.
func refused(t *testing.T, s *site.Site, args, want []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 45*time.Second)
	defer cancel()
	_, err := s.RunOnNode(ctx, "edgecore", args...)
	failed := (*site.ProgramError)(nil)
	if !errors.As(err, &failed) {
		t.Fatalf("edgecore %s: want a failure, have %v", strings.Join(args, " "), err)
	}
	text := strings.TrimSpace(failed.Stderr)
	lines := strings.Split(text, "\n")
	last := lines[len(lines)-1]
	t.Logf("exit %d: %s", failed.Code, last)
	if failed.Code <= 0 {
		t.Errorf("exit code %d", failed.Code)
	}
	if strings.Contains(text, "goroutine ") || strings.Contains(text, "panic") {
		t.Errorf("a stack trace: %s", text)
	}
	if !strings.HasPrefix(last, "edgecore: ") {
		t.Errorf("the last line is not edgecore's: %q", last)
	}
	if args[0] == "join" && len(lines) != 1 {
		t.Errorf("%d lines: %s", len(lines), text)
	}
	for _, part := range want {
		if !strings.Contains(strings.ToLower(last), strings.ToLower(part)) {
			t.Errorf("%q does not mention %q", last, part)
		}
	}
}

// The parts of a token, edgekit.ID.SECRET.PIN.
const (
	secretPart = 2
	pinPart    = 3
)

// spoil changes one character of a part of a token.
func spoil(token string, part int) string {
	parts := strings.Split(token, ".")
	if parts[part][0] == 'a' {
		parts[part] = "b" + parts[part][1:]
	} else {
		parts[part] = "a" + parts[part][1:]
	}
	return strings.Join(parts, ".")
}

// replace returns the arguments with one flag's value replaced.
func replace(args []string, flag, value string) []string {
	out := append([]string(nil), args...)
	for i := range out {
		if out[i] == flag {
			out[i+1] = value
		}
	}
	return out
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "edgecore.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// readOnly mounts a folder that even root cannot write to. It is in the
// site's folder, so that it goes with the site should the test be killed.
func readOnly(t *testing.T, s *site.Site) string {
	t.Helper()
	dir := filepath.Join(s.Dir(), "read-only")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}
