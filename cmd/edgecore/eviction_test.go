package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

// parseEviction reads settings as edgecore does.
func parseEviction(t *testing.T, args ...string) (edged.Eviction, error) {
	t.Helper()
	var flags evictionFlags
	parser, err := kong.New(&flags)
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(args)
	return flags.eviction(), err
}

func TestEvictionFlags(t *testing.T) {
	type m = map[string]string
	for name, tt := range map[string]struct {
		args []string
		hard m // nil is the default
		soft m
		edit func(edged.Eviction) bool
	}{
		"nothing": {nil, nil, nil, func(e edged.Eviction) bool {
			return e.PressureTransitionPeriod == 5*time.Minute && e.MaxPodGracePeriod == 0 && !e.MergeDefaults
		}},
		"off":            {[]string{"--eviction-hard="}, m{}, nil, nil},
		"off, two words": {[]string{"--eviction-hard", ""}, m{}, nil, nil},
		"as a kubelet's": {[]string{"--eviction-hard=memory.available<1Gi,nodefs.available<5%"}, m{"memory.available": "1Gi", "nodefs.available": "5%"}, nil, nil},
		"from a map":     {[]string{"--eviction-hard=memory.available=1Gi;pid.available=10%"}, m{"memory.available": "1Gi", "pid.available": "10%"}, nil, nil},
		"soft and others": {[]string{"--eviction-soft=memory.available<2Gi", "--eviction-soft-grace-period=memory.available=1m30s", "--eviction-minimum-reclaim=memory.available=0Mi", "--eviction-max-pod-grace-period=20", "--eviction-pressure-transition-period=30s", "--merge-default-eviction-settings"}, nil, m{"memory.available": "2Gi"}, func(e edged.Eviction) bool {
			return e.SoftGracePeriod["memory.available"] == 90*time.Second && e.MinimumReclaim["memory.available"] == "0Mi" &&
				e.MaxPodGracePeriod == 20*time.Second && e.PressureTransitionPeriod == 30*time.Second && e.MergeDefaults
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseEviction(t, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if !maps.Equal(got.Hard, tt.hard) || (got.Hard == nil) != (tt.hard == nil) || !maps.Equal(got.Soft, tt.soft) {
				t.Errorf("%+v", got)
			}
			if tt.edit != nil && !tt.edit(got) {
				t.Errorf("%+v", got)
			}
		})
	}
	for _, tt := range []struct{ arg, want string }{
		{"--eviction-hard=memory.available", "SIGNAL<AMOUNT"},
		{"--eviction-hard=memory.available<1,memory.available<2", "memory.available is given twice"},
		{"--eviction-soft-grace-period=memory.available=soon", "90s"},
	} {
		flag, _, _ := strings.Cut(tt.arg, "=")
		if _, err := parseEviction(t, tt.arg); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", tt.arg, err)
		}
	}
}

// settingsOnly is a command that only reads the settings.
type settingsOnly struct{ evictionFlags }

func (*settingsOnly) Run(program.Output) error { return nil }

// TestEvictionInFile has the settings come from a configuration file.
func TestEvictionInFile(t *testing.T) {
	for text, want := range map[string]map[string]string{
		"eviction-hard: {}":   {},
		"eviction-hard: \"\"": {},
		"eviction-hard: {memory.available: 5%, nodefs.available: 1Gi}":          {"memory.available": "5%", "nodefs.available": "1Gi"},
		"eviction-hard: memory.available<5%,nodefs.available<1Gi":               {"memory.available": "5%", "nodefs.available": "1Gi"},
		"eviction-hard: [memory.available<5%, nodefs.available<1Gi]":            {"memory.available": "5%", "nodefs.available": "1Gi"},
		"eviction-soft-grace-period: {memory.available: 90s}":                   nil,
		"eviction-hard:\n  memory.available: 5%\n  nodefs.available: \"1Gi\"\n": {"memory.available": "5%", "nodefs.available": "1Gi"},
	} {
		file := filepath.Join(t.TempDir(), "edgecore.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var grammar struct {
			program.Common
			Run settingsOnly `cmd:"" default:"withargs"`
		}
		var stderr bytes.Buffer
		if code := (program.Program{Name: "edgecore", CLI: &grammar, ConfigFile: file, Stderr: &stderr}).Run(t.Context(), nil); code != 0 {
			t.Errorf("%s: exit code %d: %s", text, code, stderr.String())
			continue
		}
		got := grammar.Run.eviction()
		if !maps.Equal(got.Hard, want) || (got.Hard == nil) != (want == nil) {
			t.Errorf("%s: %+v", text, got)
		}
	}
}
