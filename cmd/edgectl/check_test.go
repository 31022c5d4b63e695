package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/preflight"
	"github.com/edgekit/edgekit/cmd/internal/program"
)

// TestCheck: findings as lines and as JSON, from a machine that is an empty folder; a failure
// is an error, a name of no check one of the command line.
func TestCheck(t *testing.T) {
	root := t.TempDir()
	cmd := checkCmd{
		machineFlags: machineFlags{DataDir: filepath.Join(root, "data"), ConfigFile: filepath.Join(root, "none.yaml")},
		machine: func() preflight.Machine {
			m := preflight.Local()
			m.Root = root
			return m
		},
		Names: []string{"kernel", "systemd"},
	}
	var out bytes.Buffer
	if err := cmd.Run(t.Context(), program.Output{Writer: &out}); err == nil || !strings.Contains(err.Error(), "1 of 2 findings are failures: kernel") {
		t.Error(err)
	}
	for _, want := range []string{"fail  kernel ", "warn  systemd ", "remedy: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in %s", want, &out)
		}
	}
	out.Reset()
	cmd.Form = "json"
	if err := cmd.Run(t.Context(), program.Output{Writer: &out}); err == nil {
		t.Error("no failure")
	}
	var results []preflight.Result
	if err := json.Unmarshal(out.Bytes(), &results); err != nil || len(results) != 2 || results[0].Status != preflight.Fail || results[0].Remedy == "" {
		t.Error(results, err)
	}
	var usage *program.UsageError
	cmd.Names = []string{"moon"}
	if err := cmd.Run(t.Context(), program.Output{Writer: &out}); !errors.As(err, &usage) || usage.Setting != "check" {
		t.Error(err)
	}
	cmd.Names, cmd.Cloud = nil, "cloud"
	if err := cmd.Run(t.Context(), program.Output{Writer: &out}); !errors.As(err, &usage) || usage.Setting != "cloud" {
		t.Error(err)
	}
	cmd.Cloud, cmd.TokenFile = "", filepath.Join(root, "token")
	if err := cmd.Run(t.Context(), program.Output{Writer: &out}); !errors.As(err, &usage) || usage.Setting != "token-file" {
		t.Error(err)
	}
}

// TestCheckedSettings: the addresses that edgecore is set to listen on are checked.
func TestCheckedSettings(t *testing.T) {
	f := machineFlags{DataDir: "/d", ConfigFile: filepath.Join(t.TempDir(), "edgecore.yaml")}
	cfg, err := f.preflight()
	if err != nil || !slices.Equal(cfg.Listen, preflight.DefaultListen()) {
		t.Errorf("%+v, %v", cfg, err)
	}
	text := "mqtt-listen: [tcp://:1883, unix:///run/mqtt.sock, 'tls://:8883,ws://127.0.0.1:80/mqtt']\nmetrics-listen: 127.0.0.1:10002\ncloud: c:1\ntransport: quic\ncgroup-driver: systemd\n"
	if err := os.WriteFile(f.ConfigFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err = f.preflight()
	want := []preflight.Listen{
		{Setting: "local-api-listen", Address: "169.254.30.10:10550"},
		{Setting: "mqtt-listen", Address: ":1883"}, {Setting: "mqtt-listen", Address: ":8883"}, {Setting: "mqtt-listen", Address: "127.0.0.1:80"},
		{Setting: "rules-listen", Address: "127.0.0.1:9060"}, {Setting: "metrics-listen", Address: "127.0.0.1:10002"},
	}
	if err != nil || !slices.Equal(cfg.Listen, want) || cfg.Cloud != "c:1" || cfg.Transport != "quic" || cfg.CgroupDriver != "systemd" || cfg.DataDir != "/d" {
		t.Errorf("%+v, %v", cfg, err)
	}
	if err := os.WriteFile(f.ConfigFile, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	var usage *program.UsageError
	if _, err := f.preflight(); !errors.As(err, &usage) {
		t.Error(err)
	}
	if err := os.WriteFile(f.ConfigFile, []byte("data-dir: /data/edge\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{defaultDataDir: "/data/edge", "/data/other": "/data/other"} {
		f.DataDir = dir
		if cfg, err := f.preflight(); err != nil || cfg.DataDir != want || f.DataDir != want {
			t.Errorf("with --data-dir %s: %s and %s, %v, want %s", dir, cfg.DataDir, f.DataDir, err, want)
		}
	}
}
