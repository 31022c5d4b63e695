package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/systemd"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// fetcher has every version.
type fetcher struct{}

func (fetcher) Fetch(_ context.Context, r upgrade.Request, to upgrade.Destination) (upgrade.Release, error) {
	sum := sha256.Sum256([]byte(r.Version))
	release := upgrade.Release{Version: r.Version, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(r.Version)), StoreFormat: 1}
	return release, errors.Join(os.WriteFile(filepath.Join(to.Dir, upgrade.Program), []byte(r.Version), 0o700), to.Accept(release))
}

// stoppedNode is the data folder of a node that would start v2 on trial, and has v1 as the
// program of the package.
func stoppedNode(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	u, err := upgrade.New(upgrade.Config{DataDir: dir, Fetcher: fetcher{}, Release: upgrade.Release{Version: "v1", StoreFormat: 1}})
	if err != nil {
		t.Fatal(err)
	}
	slot, err := u.Download(t.Context(), upgrade.Request{ID: "job", Source: "x", Version: "v2"})
	if err == nil {
		err = u.Switch(t.Context(), slot, upgrade.Health{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestRollbackStopped goes back on a node whose edgecore does not run, and refuses where systemd
// may start it meanwhile.
func TestRollbackStopped(t *testing.T) {
	dir := stoppedNode(t)
	m := &testMachine{t: t, booted: true, service: systemd.State{Loaded: true, Active: "activating"}}
	var out strings.Builder
	run := func(dir, to string) error {
		out.Reset()
		r := &rollbackCmd{localFlags: localFlags{DataDir: dir}, To: to, connect: m.connect}
		return r.Run(t.Context(), program.Output{Writer: &out})
	}
	for _, state := range []string{"activating", "active"} {
		m.service.Active = state
		if err := run(dir, ""); err == nil || !strings.Contains(err.Error(), state+": stop it first") {
			t.Errorf("%s: %v", state, err)
		}
	}
	m.service.Active = "failed"
	if err := run(dir, "v7"); err == nil || !strings.Contains(err.Error(), "can go back to v1") {
		t.Errorf("another version: %v", err)
	}
	if err := run(dir, "v1"); err != nil || out.String() != "edgecore does not run. The next start runs v1 (the program of the package) and not v2\nstart it: systemctl start edgecore\n" {
		t.Errorf("%v, %q", err, &out)
	}
	if err := run(dir, ""); err == nil || !strings.Contains(err.Error(), "nothing to go back to") {
		t.Errorf("again: %v", err)
	}
	u, err := upgrade.New(upgrade.Config{DataDir: dir, Release: upgrade.Release{Version: "v1"}})
	if err != nil {
		t.Fatal(err)
	}
	if s := u.State(); s.Phase != upgrade.RolledBack || s.Active != upgrade.Base || s.Outcome == nil || s.Outcome.ID != "job" {
		t.Errorf("%+v", s)
	}
	m.booted = false
	if err := run(stoppedNode(t), ""); err != nil || strings.Contains(out.String(), "systemctl") {
		t.Errorf("without systemd: %v, %q", err, &out)
	}
	usage, ok := errors.AsType[*program.UsageError](run(filepath.Join(dir, "none"), ""))
	if !ok || usage.Setting != "data-dir" {
		t.Errorf("no data folder: %v", usage)
	}
}

// TestState: edgecore does the work, with the same flags.
func TestState(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "edgecore"), []byte("#!"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	stop := errors.New("replaced")
	for line, want := range map[string][]string{
		"state export /root/x":                               {"state", "export", "--", "/root/x"},
		"state backup --plain --data-dir /data x":            {"state", "export", "--data-dir=/data", "--plain", "--", "x"},
		"state restore --store-key k --backup-key=b /root/x": {"state", "restore", "--store-key=k", "--backup-key=b", "--", "/root/x"},
		"state import -- -x":                                 {"state", "restore", "--", "-x"},
	} {
		var got []string
		p := edgectl()
		p.CLI.(*cli).replace = func(path string, args, _ []string) error {
			if path != filepath.Join(bin, "edgecore") {
				t.Errorf("%s: %s", line, path)
			}
			got = args
			return stop
		}
		p.Stdout, p.Stderr = new(strings.Builder), new(strings.Builder)
		code := p.Run(t.Context(), strings.Fields(line))
		if code == 0 || !slices.Equal(got, append([]string{"edgecore"}, want...)) {
			t.Errorf("%s: exit %d, %q", line, code, got)
		}
	}
}
