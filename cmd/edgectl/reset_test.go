package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/linkstate"
	"github.com/edgekit/edgekit/cmd/internal/nodereset"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/systemd"
	"github.com/edgekit/edgekit/edged/runtimetest"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// quietRuntime is a runtime without pods.
type quietRuntime struct{ *runtimetest.Runtime }

func (quietRuntime) Close() error { return nil }

// resetOf is a reset of the machine.
func (m *testMachine) resetOf(revoked *[]string) *resetCmd {
	return &resetCmd{
		machineFlags: machineFlags{DataDir: filepath.Join(m.dir, "data"), ConfigFile: filepath.Join(m.dir, "edgecore.yaml")},
		on: resetMachine{
			connect: m.connect,
			runtime: func(context.Context, string) (resetRuntime, error) { return quietRuntime{runtimetest.New()}, nil },
			revoke: func(_ context.Context, node string) error {
				*revoked = append(*revoked, node)
				return nil
			},
			edit: func(c *nodereset.Config) {
				c.Root, c.Cgroups, c.Mounts = filepath.Join(m.dir, "root"), nil, func() ([]string, error) { return []string{"/"}, nil }
			},
		},
	}
}

// TestReset: a joined machine is listed, asked about, reset, and bare again; then it joins again.
func TestReset(t *testing.T) {
	c := jointest.NewCloud(t)
	m := newMachine(t, c)
	m.link = linkstate.Link{Node: "edge-1", Cloud: m.addr, Connected: true}
	join := joinSettings{Cloud: m.addr, Node: "edge-1", Token: c.Token("edge-1").String()}
	if out, _, err := m.join(m.command(join)); err != nil {
		t.Fatal(out, err)
	}
	var revoked []string
	run := func(edit func(*resetCmd)) (string, error) {
		t.Helper()
		cmd := m.resetOf(&revoked)
		edit(cmd)
		m.calls = nil
		var out bytes.Buffer
		err := cmd.Run(t.Context(), &cli{}, program.Output{Writer: &out})
		return out.String(), err
	}
	identity := filepath.Join(m.dir, "data", "identity", "identity.pem")
	there := func() bool { _, err := os.Stat(identity); return err == nil }

	out, err := run(func(r *resetCmd) { r.DryRun = true })
	if err != nil || !there() || !strings.Contains(out, "service     edgecore.service (stopped and disabled, "+m.on.unitFile+")") || !strings.Contains(out, "certificate edge-1") {
		t.Error(out, err)
	}
	var items []nodereset.Item
	out, err = run(func(r *resetCmd) { r.DryRun, r.Form = true, "json" })
	if jerr := json.Unmarshal([]byte(out), &items); err != nil || jerr != nil || len(items) < 4 {
		t.Error(out, err, jerr)
	}
	var usage *program.UsageError
	if out, err = run(func(r *resetCmd) { r.Form, r.on.answer = "json", strings.NewReader("y\n") }); !errors.As(err, &usage) || !there() {
		t.Error("asked without a list:", out, err)
	}
	if out, err = run(func(r *resetCmd) { r.on.answer = strings.NewReader("n\n") }); err == nil || !strings.Contains(err.Error(), "nothing was removed") || !there() {
		t.Error(out, err)
	}
	state := m.service
	m.service, m.booted = systemd.State{}, false
	if out, err = run(func(r *resetCmd) { r.Yes = true }); err == nil || !strings.Contains(err.Error(), "stop it first") || !there() {
		t.Error("an edgecore that runs without systemd:", out, err)
	}
	m.service, m.booted = state, true
	fault := errors.New("no runtime")
	if out, err = run(func(r *resetCmd) {
		r.Yes, r.on.runtime = true, func(context.Context, string) (resetRuntime, error) { return nil, fault }
	}); !errors.Is(err, fault) || !strings.Contains(err.Error(), "--force") || !there() {
		t.Error(out, err)
	}
	out, err = run(func(r *resetCmd) { r.on.answer = strings.NewReader("y\n") })
	if err != nil || there() || strings.Join(revoked, " ") != "edge-1" || strings.Join(m.calls, " ") != "stop disable reload" {
		t.Error(out, err, revoked, m.calls)
	}
	if _, err := os.Stat(m.on.unitFile); err == nil {
		t.Error("the unit is left")
	}
	m.service.Loaded, m.service.Path = false, ""
	if out, err = run(func(r *resetCmd) { r.Yes = true }); err != nil || !strings.Contains(out, "there is nothing to remove") {
		t.Error("the second reset:", out, err)
	}
	m.serveAPI() // its folder has gone
	join.Token = c.Token("edge-2").String()
	join.Node, m.link.Node = "edge-2", "edge-2"
	if out, _, err := m.join(m.command(join)); err != nil || !there() {
		t.Error(out, err)
	}
	out, err = run(func(r *resetCmd) { r.Yes, r.Form, r.KeepIdentity = true, "json", true })
	if err != nil || !there() || !strings.Contains(out, `"removed": true`) || len(revoked) != 1 {
		t.Error(out, err)
	}
}

// TestPodCgroups finds the groups of both versions and drivers.
func TestPodCgroups(t *testing.T) {
	mount := t.TempDir()
	for _, dir := range []string{"kubepods/burstable/podv2", "memory/kubepods/podv1"} {
		if err := os.MkdirAll(filepath.Join(mount, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	c := newPodCgroups("cgroupfs")
	c.mount = mount
	for uid, want := range map[string]string{"v2": "/kubepods/burstable/podv2", "v1": "/kubepods/podv1", "none": "", "": ""} {
		if got := strings.Join(c.Find(uid), " "); got != want {
			t.Errorf("%q: %q, want %q", uid, got, want)
		}
	}
	if err := c.Remove(t.Context(), "none"); err != nil {
		t.Error(err)
	}
}
