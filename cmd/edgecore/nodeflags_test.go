package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/cmd/internal/program"
	"github.com/edgekit/edgekit/edged"
)

// TestNodeFlags reads the settings in the kubelet's forms.
func TestNodeFlags(t *testing.T) {
	r := parsed(t, "--allowed-unsafe-sysctls=kernel.msg*,net.core.somaxconn", "--pods-per-core=10", "--provider-id=x://1", "--node-status-update-frequency=20s",
		"--node-status-max-images=-1", "--manifest-url=https://site/pods", "--manifest-url-header=X-A:b,X-C: d", "--http-check-frequency=1m",
		"--file-check-frequency=20s", "--max-container-restart-period=1m", "--event-qps=5", "--event-burst=10", "--shutdown-grace-period-by-pod-priority=0=20s,2000000000=10s",
		"--pod-manifest-path=/etc/pods", "--container-runtime-endpoint=unix:///run/x", "--image-gc-high-threshold=90", "--minimum-image-ttl-duration=1m")
	var cfg edged.Config
	if err := r.apply(&cfg); err != nil {
		t.Fatal(err)
	}
	if len(cfg.AllowedSysctls) != 2 || cfg.PodsPerCore != 10 || cfg.ProviderID != "x://1" || cfg.NodeCheck != 20*time.Second || cfg.NodeStatusMaxImages < 1000 ||
		cfg.StaticPodURL == "" || cfg.StaticPodURLHeader.Get("X-C") != "d" || cfg.StaticPodURLCheck != time.Minute || cfg.StaticPodDirCheck != 20*time.Second ||
		cfg.MaxContainerRestartPeriod != time.Minute || cfg.EventQPS != 5 || cfg.EventBurst != 10 || cfg.Shutdown.GracePeriodByPodPriority[2_000_000_000] != 10*time.Second || cfg.Shutdown.Dial == nil {
		t.Errorf("%+v", cfg)
	}
	if r.StaticPodDir != "/etc/pods" || r.RuntimeEndpoint != "unix:///run/x" || r.ImageGCHigh != 90 || r.ImageMinimumGCAge != time.Minute {
		t.Errorf("the kubelet's names: %q %q %d %s", r.StaticPodDir, r.RuntimeEndpoint, r.ImageGCHigh, r.ImageMinimumGCAge)
	}
	for setting, args := range map[string][]string{
		"node-status-update-frequency": {"--node-status-update-frequency=1ms"},
		"http-check-frequency":         {"--http-check-frequency=0"},
		"file-check-frequency":         {"--file-check-frequency=0"},
		"node-status-max-images":       {"--node-status-max-images=-2"},
		"manifest-url-header":          {"--manifest-url=https://site", "--manifest-url-header=secret"},
	} {
		err := parsed(t, args...).apply(&cfg)
		usage, ok := errors.AsType[*program.UsageError](err)
		if !ok || usage.Setting != setting || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if err := parsed(t, "--manifest-url-header=A:b").apply(&cfg); err == nil {
		t.Error("a header without a URL")
	}
}

// TestKubeletConfigFile: the program refuses a wrong file with its field, and a value of it
// that edgecore refuses with its place; the command line goes before it.
func TestKubeletConfigFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubelet.yaml")
	run := func(text string, args ...string) string {
		t.Helper()
		text = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///none.sock\n" + text
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := &cli{}
		var out, errs strings.Builder
		program.Program{Name: "edgecore", CLI: c, Command: c.command, ConfigFile: file + ".absent", Below: c.kubeletValues, Stdout: &out, Stderr: &errs}.Run(t.Context(), append(args, "--log-level=error", "--kubelet-config", file))
		return errs.String()
	}
	for text, want := range map[string]string{
		"maxPodz: 1":                      "--kubelet-config: " + file + ":4: unknown field maxPodz",
		"clusterDNS: [host]":              "set by clusterDNS at " + file + ":4",
		"memorySwap: {swapBehavior: All}": "set by memorySwap.swapBehavior at",
		"maxPods: 5":                      "/none.sock", // accepted: the runtime is next
	} {
		if got := run(text); !strings.Contains(got, want) {
			t.Errorf("%s: %s", text, got)
		}
	}
	if got := run("", "--runtime-endpoint=unix:///other.sock"); !strings.Contains(got, "/other.sock") {
		t.Errorf("the command line does not go before the file: %s", got)
	}
}

// TestSecretSettings: the header of --manifest-url, which may be a secret, is not among the
// settings that the kubelet API shows.
func TestSecretSettings(t *testing.T) {
	r := parsed(t, "--manifest-url=https://site/pods", "--manifest-url-header=X-A:hunter2")
	text, err := json.Marshal(r)
	if err != nil || !strings.Contains(string(text), "https://site/pods") || strings.Contains(string(text), "hunter2") {
		t.Errorf("%s, %v", text, err)
	}
}
