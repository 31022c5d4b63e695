package credentialprovider

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/hub/decodetest"
)

const goodConfig = `apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: one
  matchImages: ["*.dkr.ecr.*.amazonaws.com", "registry.io:8080/path"]
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get-credentials]
  env: [{name: REGION, value: eu}]
  tokenAttributes:
    serviceAccountTokenAudience: registry
    cacheType: ServiceAccount
    requireServiceAccount: true
    requiredServiceAccountAnnotationKeys: [acme.io/role]
`

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(goodConfig) }
	for _, tt := range []struct{ name, text, want string }{
		{"good", goodConfig, ""},
		{"unknown field", change("args:", "arguments:"), "unknown field"},
		{"kind", change("CredentialProviderConfig", "KubeletConfiguration"), "want kind CredentialProviderConfig"},
		{"no version", change("kubelet.config.k8s.io/v1", "kubelet.config.k8s.io/v9"), "want kind"},
		{"no providers", "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n", "no providers"},
		{"path as a name", change("name: one", "name: ../one"), "name must be"},
		{"no program", change("name: one", "name: three"), "three"},
		{"no images", change(`["*.dkr.ecr.*.amazonaws.com", "registry.io:8080/path"]`, "[]"), "matchImages"},
		{"no duration", change("  defaultCacheDuration: 12h\n", ""), "defaultCacheDuration is required"},
		{"negative", change("12h", "-1s"), "must not be negative"},
		{"version of the program", change("credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v2"), "apiVersion"},
		{"tokens need v1", change("credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1"), "tokenAttributes need"},
		{"audience", change("serviceAccountTokenAudience: registry", "serviceAccountTokenAudience: ''"), "serviceAccountTokenAudience"},
		{"cache type", change("cacheType: ServiceAccount", "cacheType: Pod"), "cacheType"},
		{"account", change("requireServiceAccount: true", "requireServiceAccount: false"), "need requireServiceAccount"},
		{"annotation", change("acme.io/role", "a/b/c"), "annotation key"},
		{"annotation twice", change("[acme.io/role]", "[acme.io/role, acme.io/role]"), "twice"},
		{"twice", goodConfig + strings.SplitN(goodConfig, "providers:\n", 2)[1], "two providers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg, err := Read(path, dir)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if err == nil && (len(cfg.Providers) != 1 || cfg.Providers[0].DefaultCacheDuration.Duration != 12*time.Hour) {
				t.Errorf("%+v", cfg)
			}
		})
	}
}

// TestReadFolder reads the files of a folder in order.
func TestReadFolder(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	if _, err := Read(dir, bin); err == nil || !strings.Contains(err.Error(), "no .json") {
		t.Errorf("empty folder: %v", err)
	}
	for _, name := range []string{"one", "two"} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"b.yaml": goodConfig, "a.yml": strings.Replace(goodConfig, "name: one", "name: two", 1), "notes.txt": "no"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := Read(dir, bin)
	if err != nil || len(cfg.Providers) != 2 || cfg.Providers[0].Name != "two" || cfg.Providers[1].Name != "one" {
		t.Errorf("%+v, %v", cfg.Providers, err)
	}
	if _, err := Read(dir, "bin"); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("relative folder of programs: %v", err)
	}
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Accounts") {
		t.Errorf("no accounts: %v", err)
	}
}

// TestAttackDecoders searches for the answer that costs most memory to read.
func TestAttackDecoders(t *testing.T) {
	decodetest.Search(t, decodetest.Case{
		Name: "credential_provider_response", Before: `{"auth":{`, Between: ",", After: `}}`, Tokens: decodetest.JSONTokens(),
		Units:  []string{`"a":{}`, `"q*":{"username":"a","password":"b"}`, `"a":null`},
		Decode: func(b []byte) { _, _ = parseResponse(b, APIVersion) },
		Whole:  [][]byte{decodetest.Keys(`{"auth":{`, `{}`, `}}`)},
	})
}
