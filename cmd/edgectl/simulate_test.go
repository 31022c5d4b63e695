package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSimulateCommands parses the commands of the README about simulations, and has wrong ones
// refused.
func TestSimulateCommands(t *testing.T) {
	var lines []string
	for _, line := range documented(t, "README.md") {
		if strings.HasPrefix(line, "simulate ") {
			lines = append(lines, line)
		}
	}
	if len(lines) < 4 {
		t.Fatalf("the README has %d commands", len(lines))
	}
	missing := filepath.Join(t.TempDir(), "none") // so that no command goes further
	t.Setenv("KUBECONFIG", missing)
	for _, line := range append(lines, "simulate", "simulate --server h:1 --nodes 0") {
		var stdout, stderr bytes.Buffer
		p := edgectl()
		p.Stdout, p.Stderr = &stdout, &stderr
		args := append(strings.Fields(line), "--kubeconfig", missing)
		if code := p.Run(t.Context(), args); code != 2 || !strings.Contains(stderr.String(), "kubeconfig") {
			t.Errorf("%s: exit %d: %s", line, code, stderr.String())
		}
	}
	good := filepath.Join(t.TempDir(), "kubeconfig")
	text := "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {token: t}}]\n"
	if err := os.WriteFile(good, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		"simulate":                                           "server",
		"simulate --server h:1 --nodes 0":                    "Config.Nodes",
		"simulate --server h:1 --every 1ms":                  "every",
		"simulate --server h --nodes 1":                      "host:port",
		"simulate --server h:1 --transport carrier-pigeon":   "transport",
		"simulate --server h:1 --nodes 1 --name Not_A_Label": "Config.Name",
	} {
		var stdout, stderr bytes.Buffer
		p := edgectl()
		p.Stdout, p.Stderr = &stdout, &stderr
		if code := p.Run(t.Context(), append(strings.Fields(line), "--kubeconfig", good)); code != 2 || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit %d: %s", line, code, stderr.String())
		}
	}
}
