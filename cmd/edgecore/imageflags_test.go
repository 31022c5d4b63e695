package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
	"github.com/edgekit/edgekit/edged/image"
)

func TestImageFlags(t *testing.T) {
	dir := t.TempDir()
	providers := filepath.Join(dir, "providers.yaml")
	if err := os.WriteFile(providers, []byte("kind: Pod\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name        string
		flags       imageFlags
		setting     string // of the error
		maxPulls    int
		credentials int
	}{
		{"nothing", imageFlags{}, "", 0, 0},
		{"where a kubelet looks", imageFlags{RegistryConfig: []string{"default"}}, "", 0, 1},
		{"files", imageFlags{RegistryConfig: []string{"/a", "/b"}}, "", 0, 1},
		{"no file", imageFlags{RegistryConfig: []string{""}}, "", 0, 0},
		{"one at a time", imageFlags{SerializeImagePulls: true}, "", 1, 0},
		{"five", imageFlags{MaxParallelImagePulls: 5}, "", 5, 0},
		{"both", imageFlags{SerializeImagePulls: true, MaxParallelImagePulls: 5}, "max-parallel-image-pulls", 0, 0},
		{"negative", imageFlags{MaxParallelImagePulls: -1}, "max-parallel-image-pulls", 0, 0},
		{"no burst", imageFlags{RegistryPullsPerSecond: 5}, "registry-burst", 0, 0},
		{"no folder", imageFlags{CredentialProviders: providers}, "image-credential-provider-config", 0, 0},
		{"no configuration", imageFlags{CredentialProviderDir: dir}, "image-credential-provider-config", 0, 0},
		{"bad configuration", imageFlags{CredentialProviders: providers, CredentialProviderDir: dir}, "image-credential-provider-config", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var cfg edged.Config
			err := tt.flags.setImages(&cfg, nil, slog.New(slog.DiscardHandler))
			var usage *program.UsageError
			if tt.setting != "" {
				if !errors.As(err, &usage) || usage.Setting != tt.setting {
					t.Errorf("%v, want one of %s", err, tt.setting)
				}
				return
			}
			if err != nil || cfg.MaxPulls != tt.maxPulls || len(cfg.Credentials) != tt.credentials {
				t.Errorf("%v, %d pulls, %d credentials", err, cfg.MaxPulls, len(cfg.Credentials))
			}
		})
	}
	f := imageFlags{RegistryConfig: []string{"default"}}
	if files := f.configFiles(); files[0] != "/var/lib/kubelet/config.json" {
		t.Errorf("%q", files)
	}
	if _, ok := any(f.configFiles()).(image.ConfigFiles); !ok || !strings.HasSuffix(f.configFiles()[len(f.configFiles())-1], ".dockercfg") {
		t.Error("the older files are not last")
	}
}
