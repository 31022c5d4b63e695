package image

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestConfigFiles(t *testing.T) {
	ref, err := Parse("quay.io/acme/sensor:1")
	if err != nil {
		t.Fatal(err)
	}
	const good = `{"auths":{"quay.io":{"auth":"dTpw"},"quay.io/acme":{"username":"team","password":"x"},"other.io":{"auth":"dTpw"}}}`
	for _, tt := range []struct {
		name    string
		files   map[string]string
		want    []string // user names
		wantErr string
	}{
		{name: "none"},
		{name: "config.json", files: map[string]string{"a/config.json": good}, want: []string{"team", "u"}},
		{name: "the first wins", files: map[string]string{"a/config.json": good, "b/config.json": `{"auths":{"quay.io":{"username":"b"}}}`}, want: []string{"team", "u"}},
		{name: "old form", files: map[string]string{"a/.dockercfg": `{"https://quay.io/v1/":{"username":"old","password":"x"}}`}, want: []string{"old"}},
		{name: "new form before old", files: map[string]string{"a/.dockercfg": `{"quay.io":{"username":"old"}}`, "b/config.json": good}, want: []string{"team", "u"}},
		{name: "damaged", files: map[string]string{"a/config.json": "{", "b/config.json": good}, want: []string{"team", "u"}, wantErr: "a/config.json"},
		{name: "too long", files: map[string]string{"a/config.json": `{"auths":{}}` + strings.Repeat(" ", maxConfigFile)}, wantErr: "longer than"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			files := ConfigFiles{filepath.Join(dir, "a/config.json"), filepath.Join(dir, "b/config.json"), filepath.Join(dir, "a/.dockercfg")}
			got, err := files.Credentials(t.Context(), nil, ref)
			var users []string
			for _, c := range got {
				users = append(users, c.Username)
				if c.Source != (Source{Kind: KindNode}) {
					t.Errorf("%+v is not the node's", c)
				}
			}
			if !slices.Equal(users, tt.want) {
				t.Errorf("users %q, want %q", users, tt.want)
			}
			if (err == nil) != (tt.wantErr == "") || err != nil && !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("error %v, want %q", err, tt.wantErr)
			}
		})
	}
}

func TestDefaultConfigFiles(t *testing.T) {
	want := ConfigFiles{"/var/lib/kubelet/config.json", "/root/.docker/config.json", "/.docker/config.json", "/var/lib/kubelet/.dockercfg", "/root/.dockercfg", "/.dockercfg"}
	if got := DefaultConfigFiles("/var/lib/kubelet", "/root"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := DefaultConfigFiles("/var/lib/kubelet", ""); len(got) != 4 {
		t.Errorf("without a home: %q", got)
	}
}

func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"quay.io":{"auth":"dTpw"}}}`))
	f.Add([]byte(`{"https://quay.io/v1/":{"username":"u","password":"p"}}`))
	ref, err := Parse("quay.io/acme/sensor:1")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, parse := range []func([]byte) (map[string]entry, error){parseConfigJSON, parseDockercfg} {
			entries, err := parse(text)
			if err != nil {
				continue
			}
			for _, c := range sorted(appendMatches(nil, entries, ref, Source{})) {
				if !Covers(c.Server, ref) {
					t.Errorf("%+v does not cover %s", c, ref)
				}
			}
		}
	})
}
