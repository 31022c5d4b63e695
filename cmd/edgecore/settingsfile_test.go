package main

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/edged/jobs"
	"github.com/edgekit/edgekit/edged/upgrade"
)

// TestSettingsFile: a job changes edgecore's file as edgecore would accept it, and nothing else.
func TestSettingsFile(t *testing.T) {
	t.Setenv("EDGECORE_CLUSTER_DOMAIN", "env.local")
	for name, tt := range map[string]struct {
		set     map[string]string
		same    bool
		want    string // in the file
		unknown string // key of an UnknownKeyError
		err     string
	}{
		"own":             {set: map[string]string{"max-pods": "50", "node-labels": "a=b;c=d"}, want: "max-pods: 50\n"},
		"same":            {set: map[string]string{"mqtt-mode": "internal"}, same: true},
		"list":            {set: map[string]string{"cluster-dns": "{10.0.0.1,10.0.0.2}"}, want: "cluster-dns: 10.0.0.1,10.0.0.2"},
		"removed":         {set: map[string]string{"mqtt-mode": "null"}, want: "# a comment\n"},
		"KubeEdge":        {set: map[string]string{"modules.edged.tailoredKubeletConfig.maxPods": "70", "modules.eventBus.mqttMode": "0"}, want: "max-pods: 70"},
		"no twin":         {set: map[string]string{"modules.edgeHub.heartbeat": "20"}, unknown: "modules.edgeHub.heartbeat"},
		"not KubeEdge's":  {set: map[string]string{"modules.nothing.here": "20"}, unknown: "modules.nothing.here"},
		"unknown":         {set: map[string]string{"max-podz": "50"}, unknown: "max-podz", err: "did you mean max-pods?"},
		"bad value":       {set: map[string]string{"max-pods": "many"}, err: "max-pods"},
		"bad choice":      {set: map[string]string{"mqtt-mode": "some"}, err: "mqtt-mode"},
		"data folder":     {set: map[string]string{"data-dir": "/other"}, err: "cannot be changed by a job"},
		"trust":           {set: map[string]string{"upgrade-trust": "/tmp"}, err: "cannot be changed by a job"},
		"upgrades":        {set: map[string]string{"upgrades": "false"}, err: "cannot be changed by a job"},
		"environment":     {set: map[string]string{"cluster-domain": "x.local"}, err: "EDGECORE_CLUSTER_DOMAIN"},
		"command line":    {set: map[string]string{"log-level": "debug"}, err: "remove --log-level there"},
		"twice":           {set: map[string]string{"max-pods": "1", "modules.edged.tailoredKubeletConfig.maxPods": "2"}, err: "set twice"},
		"within another":  {set: map[string]string{"modules.edged": "1", "modules.edged.enable": "true"}, err: "modules.edged"},
		"empty part":      {set: map[string]string{"modules..x": "1"}, err: "within"},
		"a secret of old": {set: map[string]string{"modules.eventBus.mqttPassword": "x", "modules.eventBus.mqttMode": "2"}, unknown: "modules.eventBus.mqttPassword"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "edgecore.yaml")
			const before = "# a comment\nmqtt-mode: internal\n"
			if err := os.WriteFile(file, []byte(before), 0o640); err != nil {
				t.Fatal(err)
			}
			data := t.TempDir()
			inner, err := upgrade.NewSettings(upgrade.SettingsConfig{DataDir: data})
			if err != nil {
				t.Fatal(err)
			}
			s := &settingsFile{Settings: inner, args: []string{"--config", file, "--log-level=info"}}
			changes, err := s.Check(maps.Clone(tt.set))
			unknown, _ := errors.AsType[*jobs.UnknownKeyError](err)
			switch {
			case tt.unknown != "" && (unknown == nil || unknown.Key != tt.unknown):
				t.Fatalf("%v", err)
			case tt.unknown == "" && tt.err == "" && err != nil, !strings.Contains(errText(err), tt.err):
				t.Fatalf("%v, want %q", err, tt.err)
			case tt.unknown != "" || tt.err != "":
				return
			case changes == tt.same:
				t.Errorf("changes: %v", changes)
			}
			if err := s.Switch(t.Context(), "job", tt.set, upgrade.Health{Timeout: time.Minute, Stable: time.Second}); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != before {
				t.Errorf("the file is changed before the next start: %s, %v", text, err)
			}
			if start := upgrade.BootSettings(data); !start.Trial {
				t.Fatalf("%+v", start)
			}
			text, err := os.ReadFile(file)
			if info, statErr := os.Stat(file); err != nil || statErr != nil || !strings.Contains(string(text), tt.want) || info.Mode().Perm() != 0o640 {
				t.Errorf("%s, %v, %v", text, err, info.Mode())
			}
			if start := upgrade.BootSettings(data); start.Trial || !strings.Contains(start.Problem, "neither committed nor in order") {
				t.Errorf("a second start: %+v", start)
			}
			if text, err := os.ReadFile(file); err != nil || string(text) != before {
				t.Errorf("the settings before do not come back: %s, %v", text, err)
			}
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestExit: an agent that is to start again tries to, but not if it was asked to end.
func TestExit(t *testing.T) {
	trial := starts{program: upgrade.Start{Trial: true}}
	asked := starts{again: true, asked: true}
	askedTrial := trial
	askedTrial.asked = true
	for name, test := range map[string]struct {
		starts starts
		code   int
		want   int // 1: it tried, and there is no base
	}{
		"as it ends":            {starts{}, 2, 2},
		"again":                 {starts{again: true}, 0, 1},
		"a trial has failed":    {trial, 2, 1},
		"a trial ends":          {trial, 0, 0},
		"asked, and to go on":   {asked, 0, 0},
		"asked, a trial failed": {askedTrial, 2, 2},
	} {
		if got := test.starts.exit(test.code); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// TestBootArguments: the data folder is found before the flags are parsed.
func TestBootArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "edgecore.yaml")
	if err := os.WriteFile(file, []byte("data-dir: /file\nnew-setting: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args  []string
		env   string
		dir   string
		agent bool
	}{
		{nil, "", defaultData, true},
		{[]string{"--config", file}, "", "/file", true},
		{[]string{"--config=" + file}, "/env", "/env", true},
		{[]string{"run", "--config", file, "--data-dir", "/flag"}, "/env", "/flag", true},
		{[]string{"--data-dir=/flag", "--cloud", "a:1"}, "", "/flag", true},
		{[]string{"--data-dir"}, "", defaultData, true},
		{[]string{"--config", "/nowhere.yaml"}, "", defaultData, true},
		{[]string{"join", "--data-dir=/flag"}, "", "/flag", false},
		{[]string{"--version"}, "", defaultData, false},
		{[]string{"store", "backup", "x"}, "", defaultData, false},
	} {
		t.Setenv("EDGECORE_DATA_DIR", tt.env)
		if dir, agent := dataDir(tt.args), isAgent(tt.args); dir != tt.dir || agent != tt.agent {
			t.Errorf("%q: %s, %v", tt.args, dir, agent)
		}
	}
	parser, err := kong.New(&cli{})
	if err != nil {
		t.Fatal(err)
	}
	for _, child := range parser.Model.Children {
		for _, name := range append(child.Aliases, child.Name) {
			if child.Name != "run" && isAgent([]string{name}) {
				t.Errorf("the command %s is missing among shortCommands", name)
			}
		}
	}
}

// TestAskedWhileItStarts: an agent with settings on trial that is asked to end while it starts has
// not failed: the next start tries them again.
func TestAskedWhileItStarts(t *testing.T) {
	data, file := t.TempDir(), filepath.Join(t.TempDir(), "edgecore.yaml")
	s, err := upgrade.NewSettings(upgrade.SettingsConfig{DataDir: data})
	if err == nil {
		err = s.Switch(t.Context(), "job", file, []byte("max-pods: 50\n"), upgrade.Health{})
	}
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--config", file, "--data-dir", data, "--runtime-endpoint", "unix://" + filepath.Join(data, "none.sock")}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		c := &cli{starts: starts{}.bootSettings(args)}
		if !c.starts.settings.Trial || c.starts.settings.Problem != "" {
			t.Fatalf("%+v", c.starts.settings)
		}
		p := c.program()
		p.Stdout, p.Stderr = io.Discard, io.Discard
		p.Run(ctx, args)
		if !c.starts.asked {
			t.Error("it was asked")
		}
	}
}

// TestLinkedSettingsFile: a job changes the file that edgecore.yaml is a link to, and the link stays.
func TestLinkedSettingsFile(t *testing.T) {
	dir, data := t.TempDir(), t.TempDir()
	target, file := filepath.Join(dir, "site", "edgecore.yaml"), filepath.Join(dir, "edgecore.yaml")
	if err := errors.Join(os.Mkdir(filepath.Dir(target), 0o700), os.WriteFile(target, []byte("max-pods: 40\n"), 0o640), os.Symlink("site/edgecore.yaml", file)); err != nil {
		t.Fatal(err)
	}
	inner, err := upgrade.NewSettings(upgrade.SettingsConfig{DataDir: data})
	if err != nil {
		t.Fatal(err)
	}
	s := &settingsFile{Settings: inner, args: []string{"--config", file}}
	if err := s.Switch(t.Context(), "job", map[string]string{"max-pods": "50"}, upgrade.Health{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"max-pods: 50\n", "max-pods: 40\n"} { // tried, and taken back
		upgrade.BootSettings(data)
		text, err := os.ReadFile(target)
		if to, linkErr := os.Readlink(file); err != nil || string(text) != want || linkErr != nil || to != "site/edgecore.yaml" {
			t.Errorf("%q, %v, a link to %q, %v", text, err, to, linkErr)
		}
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Check(map[string]string{"max-pods": "50"}); err == nil || !strings.Contains(err.Error(), "is a link to nothing") {
		t.Errorf("a link to nothing: %v", err)
	}
}
