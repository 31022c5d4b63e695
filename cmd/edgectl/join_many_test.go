package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/linkstate"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/cmd/internal/sshhost/sshtest"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// remote is a machine that is reached over SSH.
type remote struct {
	*testMachine
	server *sshtest.Server
	root   bool

	mu       sync.Mutex
	programs map[string][]byte // that are installed
	commands []string
	waits    []time.Duration // of the joins
}

// newRemote makes a machine with an SSH server that knows the commands of a join, and no others.
func newRemote(t *testing.T, c *jointest.Cloud, root bool, programs ...string) *remote {
	t.Helper()
	r := &remote{testMachine: newMachine(t, c), root: root, programs: make(map[string][]byte)}
	for _, p := range programs {
		r.programs[p] = []byte("old")
	}
	r.server = sshtest.Serve(t, r.run)
	return r
}

func (r *remote) run(command string, in io.Reader, out, errs io.Writer) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.commands = append(r.commands, command)
	prefix := "sudo -n "
	if r.root {
		prefix = ""
	}
	switch command {
	case "id -u":
		fmt.Fprintln(out, map[bool]string{true: "0", false: "1000"}[r.root])
		return 0
	case "sha256sum /usr/bin/edgecore", "sha256sum /usr/bin/edgectl":
		text, ok := r.programs[filepath.Base(command)]
		if !ok {
			return 1
		}
		fmt.Fprintf(out, "%x  x\n", sha256.Sum256(text))
		return 0
	case prefix + string(joinCommand):
		if r.programs["edgectl"] == nil {
			return 127
		}
		return r.runJoin(in, out, errs)
	}
	for _, p := range remotePrograms() {
		if command == string(p.install) && r.root || command == string(p.asAdmin) && !r.root {
			text, err := io.ReadAll(in)
			if err != nil {
				return 1
			}
			r.programs[p.name] = text
			return 0
		}
	}
	fmt.Fprintf(errs, "this is no command: %q", command)
	return 127
}

// runJoin runs edgectl join on the machine.
func (r *remote) runJoin(in io.Reader, out, errs io.Writer) int {
	cmd := r.command(joinSettings{})
	cmd.Form = "json"
	err := cmd.readConfig(in)
	r.waits = append(r.waits, cmd.Wait)
	r.testMachine.mu.Lock()
	r.link = linkstate.Link{Node: cmd.Node, Cloud: cmd.Cloud, Connected: true}
	r.testMachine.mu.Unlock()
	if err == nil {
		err = cmd.Run(r.t.Context(), &cli{}, program.Output{Writer: out})
	}
	var usage *program.UsageError
	switch {
	case errors.As(err, &usage):
		fmt.Fprintln(errs, err)
		return 2
	case err != nil:
		fmt.Fprintln(errs, err)
		return 1
	}
	return 0
}

// TestJoinMany: machines join over SSH, root and sudo, with and without the programs; those that
// cannot are named, and the next run does only what is left.
func TestJoinMany(t *testing.T) {
	c := jointest.NewCloud(t)
	one, two, three := newRemote(t, c, true, "edgectl"), newRemote(t, c, false, "edgectl"), newRemote(t, c, true)
	stranger := newRemote(t, c, true, "edgectl")
	known := filepath.Join(t.TempDir(), "known_hosts")
	var all []byte
	for _, r := range []*remote{one, two, three} {
		line, err := os.ReadFile(r.server.KnownHosts)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, line...)
	}
	if err := os.WriteFile(known, all, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	var hosts []host
	for i, r := range []*remote{one, two, three, stranger} {
		hosts = append(hosts, host{
			Address: r.server.Host, Port: r.server.Port, KeyFile: r.server.KeyFile, Node: fmt.Sprintf("edge-%d", i+1),
			Labels: map[string]string{"site": "plant-1"}, Set: map[string]string{"provider-id": "site p'; rm -rf / #"},
		})
	}
	var mu sync.Mutex
	var made []string
	settings := one.command(joinSettings{Cloud: one.addr, Wait: 42 * time.Second}).joinSettings
	m := manyJoin{
		flags: joinManyFlags{Parallel: 2, User: "root", KnownHosts: known, Limit: 5 * time.Minute}, settings: settings,
		token: func(_ context.Context, node string) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			made = append(made, node)
			return c.Token(node).String(), nil
		},
	}
	results := m.run(t.Context(), hosts)
	for i, want := range []struct {
		state joinState
		err   string
	}{{stateConnected, ""}, {stateConnected, ""}, {stateNone, "edgectl is not installed there"}, {stateNone, "is not in " + known}} {
		if r := results[i]; r.State != want.state || (r.Error == "") != (want.err == "") || !strings.Contains(r.Error, want.err) || r.Node != hosts[i].Node {
			t.Errorf("%+v, want %+v", r, want)
		}
	}
	for _, r := range []*remote{one, two} {
		if len(r.waits) != 2 || r.waits[0] != 42*time.Second || r.waits[1] != 42*time.Second {
			t.Errorf("--wait is %v there", r.waits)
		}
	}
	if len(made) != 2 || len(stranger.commands) != 0 {
		t.Error(made, stranger.commands)
	}
	text, err := os.ReadFile(filepath.Join(two.dir, "edgecore.yaml"))
	if err != nil || !strings.Contains(string(text), `provider-id: "site p'; rm -rf / #"`) {
		t.Error(string(text), err)
	}
	for _, r := range []*remote{one, two, three} {
		for _, command := range r.commands {
			if strings.Contains(command, "edge-") || strings.Contains(command, "site") {
				t.Errorf("data in a command: %q", command)
			}
		}
	}
	// The second run brings the programs, and makes a token for the third machine only.
	made = nil
	m.flags.Programs = t.TempDir()
	for _, p := range remotePrograms() {
		if err := os.WriteFile(filepath.Join(m.flags.Programs, p.name), bytes.Repeat([]byte(p.name), 1000), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	results = m.run(t.Context(), hosts[:3])
	for _, r := range results {
		if r.State != stateConnected || r.Error != "" {
			t.Errorf("%+v", r)
		}
	}
	if strings.Join(made, " ") != "edge-3" || len(three.programs["edgecore"]) != 8000 || len(one.programs["edgectl"]) != 7000 {
		t.Error(made, len(three.programs["edgecore"]))
	}
	copies := len(one.commands)
	m.run(t.Context(), hosts[:1])
	for _, command := range one.commands[copies:] {
		if strings.Contains(command, "cat >") {
			t.Error("copied again:", command)
		}
	}
}

// TestJoinManyRefuses: a list that is wrong, and flags that do not go together.
func TestJoinManyRefuses(t *testing.T) {
	name := filepath.Join(t.TempDir(), "hosts.yaml")
	for text, want := range map[string]string{
		"":                                 "lists no machine",
		"- {address: a}":                   "node is",
		"- {node: edge-1}":                 "address is",
		"- {address: 'a b', node: edge-1}": "address is",
		"- {address: a, node: edge-1, pasword: x}":                   "pasword",
		"- {address: a, node: edge-1}\n- {address: b, node: edge-1}": "listed twice",
		"- {address: a, node: edge-1, port: 70000}":                  "port is",
		"- {address: a, node: edge-1, labels: {site: 'p;q=r'}}":      "machine 1 (a): --labels: site=p;q=r",
		"- {address: a, node: edge-1, set: {maxPods: '5'}}":          `machine 1 (a): --set: "maxPods" is no setting`,
		"hosts: []": "want a list",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var usage *program.UsageError
		if _, err := readHosts(name); !errors.As(err, &usage) || usage.Setting != "many" || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	for want, cmd := range map[string]joinCmd{
		"many":     {Many: joinManyFlags{File: name, Parallel: 1}, joinSettings: joinSettings{Cloud: "c:1", Token: "x"}},
		"cloud":    {Many: joinManyFlags{File: name, Parallel: 1}},
		"parallel": {Many: joinManyFlags{File: name}, joinSettings: joinSettings{Cloud: "c:1"}},
	} {
		var usage *program.UsageError
		if err := cmd.Run(t.Context(), &cli{}, program.Output{Writer: io.Discard}); !errors.As(err, &usage) || usage.Setting != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestJoinManyOutput: the summary as a table and as JSON.
func TestJoinManyOutput(t *testing.T) {
	results := []hostResult{{"edge-1", "192.0.2.1", stateConnected, ""}, {"edge-2", "192.0.2.2", stateNone, "no\nway \x1b[2J"}}
	var out bytes.Buffer
	if err := printHosts(&out, results); err != nil || !strings.Contains(out.String(), `no way \x1b[2J`) || strings.Count(out.String(), "\n") != 3 {
		t.Errorf("%q, %v", &out, err)
	}
	text, err := json.Marshal(results)
	if err != nil || !strings.Contains(string(text), `"state":"connected"`) {
		t.Error(string(text), err)
	}
}

// FuzzEvents: whatever a machine prints is left out or is an event; memory is bounded.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("{\"step\":\"end\",\"state\":\"connected\"}\nnoise\n"), 3)
	f.Fuzz(func(_ *testing.T, text []byte, cut int) {
		w := &eventWriter{handle: func(joinEvent) {}}
		at := min(max(cut, 0), len(text))
		_, _ = w.Write(text[:at])
		_, _ = w.Write(text[at:])
	})
}
