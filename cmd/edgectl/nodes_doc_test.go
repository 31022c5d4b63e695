package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/internal/linkstate"
	"github.com/edgekit/edgekit/cmd/internal/preflight"
	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/hub/join/jointest"
)

// documented returns the command lines of a document that begin with edgectl.
func documented(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if command, ok := strings.CutPrefix(line, "    edgectl "); ok {
			lines = append(lines, strings.TrimSpace(command))
		}
	}
	return lines
}

// TestNodesDocument runs every command of NODES.md, in order, on one machine. Those that need an
// API server, other machines or an edgecore are only parsed.
func TestNodesDocument(t *testing.T) {
	c := jointest.NewCloud(t)
	m := newMachine(t, c)
	m.link = linkstate.Link{Node: "edge-1", Cloud: m.addr, Connected: true}
	token := filepath.Join(m.dir, "token")
	if err := os.WriteFile(token, []byte(c.Token("edge-1").String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var revoked []string
	reset := m.resetOf(&revoked).on
	want := map[string]string{ // part of what is printed
		"check --cloud edge.example.com:10000": "ok    cloud",
		"check runtime cni dns":                "remedy:",
		"check --output json":                  `"status": "fail"`,
		"join --cloud edge.example.com:10000 --node edge-1 --token-file /root/token": "link      node edge-1 is connected",
		"join --ignore-check dns,cni": "there is nothing to do",
		"reset --dry-run":             "data",
		"reset --yes":                 "removed  identity",
	}
	lines := documented(t, "NODES.md")
	for line := range want {
		if !slices.Contains(lines, line) {
			t.Errorf("NODES.md does not have %q", line)
		}
	}
	for _, line := range lines {
		line, _, _ := strings.Cut(line, " > ")
		args := strings.Fields(strings.NewReplacer("edge.example.com:10000", m.addr, "/root/token", token).Replace(line))
		parsed := slices.Contains([]string{"token", "node", "rollback", "state"}, args[0]) || slices.Contains(args, "--many")
		switch {
		case parsed:
			args = append(args, "--help")
		default:
			args = append(args, "--data-dir", filepath.Join(m.dir, "data"), "--edgecore-config", filepath.Join(m.dir, "edgecore.yaml"))
		}
		if args[0] == "join" && !parsed {
			args = append(args, "--ignore-check", strings.Join(preflight.Names(), ","))
		}
		cli := &cli{}
		cli.Join.on, cli.Reset.on = m.on, reset
		cli.Check.machine = func() preflight.Machine { return m.on.preflight }
		var out, errs bytes.Buffer
		code := program.Program{
			Name: "edgectl", CLI: cli, ConfigFile: filepath.Join(m.dir, "none.yaml"), Command: cli.command, Stdout: &out, Stderr: &errs,
		}.Run(t.Context(), args)
		if wantCode := map[bool]int{true: 1, false: 0}[args[0] == "check"]; code != wantCode || !strings.Contains(out.String(), want[line]) {
			t.Errorf("edgectl %s: exit %d, %q, %s", line, code, errs.String(), out.String())
		}
	}
}

// TestKeadmLinesExist: what the alias says to type is what this edgectl takes, or is of another
// program.
func TestKeadmLinesExist(t *testing.T) {
	for _, l := range keadmLines() {
		words := strings.Fields(l.here)
		if words[0] != "edgectl" || slices.Contains(words, "--help") || slices.Contains(words, "--version") {
			continue
		}
		parser, err := kong.New(&cli{}, kong.Name("edgectl"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parser.Parse(words[1:]); err != nil {
			t.Errorf("%s: %v", l.here, err)
		}
	}
}
