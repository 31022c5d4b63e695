package oci_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/cmd/release/oci"
	"github.com/edgekit/edgekit/cmd/release/programs"
	"github.com/edgekit/edgekit/cmd/release/sign"
	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/edged/upgrade/artifact"
	"github.com/edgekit/edgekit/edged/upgrade/artifacttest"
)

var when = time.Date(2026, 11, 30, 7, 0, 0, 0, time.UTC)

// platformPrograms makes small files in place of programs.
func platformPrograms(t *testing.T) func(programs.Platform) string {
	t.Helper()
	dir := t.TempDir()
	place := func(p programs.Platform) string { return filepath.Join(dir, p.FileName()) }
	for _, p := range programs.Platforms() {
		if err := os.MkdirAll(place(p), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range programs.Names() {
			if err := os.WriteFile(filepath.Join(place(p), name), program(p, name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	return place
}

func program(p programs.Platform, name string) []byte {
	return artifacttest.Program(artifact.Platform{OS: "linux", Architecture: p.Arch, Variant: p.Variant}, name)
}

func newArtifact(t *testing.T, key, cert string) oci.Artifact {
	t.Helper()
	a := oci.Artifact{
		Config:   oci.Config{Version: "v1.2.3", StoreFormat: 2, StoreFormatsRead: []int{1, 2}, Protocol: 1},
		Revision: "0123", Time: when, Programs: platformPrograms(t),
	}
	if key != "" {
		s, err := sign.Load(key, cert)
		if err != nil {
			t.Fatal(err)
		}
		a.Sign = s.Layout
	}
	return a
}

// TestNodesAccept: the node's own code verifies and unpacks the artefact for each platform, by
// either form of signature, and refuses one that is signed by nobody or by somebody else.
func TestNodesAccept(t *testing.T) {
	keys, other := t.TempDir(), t.TempDir()
	for _, dir := range []string{keys, other} {
		if err := sign.WriteKey(dir, "edgekit", time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	only := func(remove string) string {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(filepath.Join(keys, "trust"))); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, remove)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for _, tt := range []struct {
		name, key, cert, trust string
		refused                bool
	}{
		{"key pair", keys + "/key.pem", "", only("trustpolicy.json"), false},
		{"notation", keys + "/key.pem", keys + "/cert.pem", only("edgekit.pub"), false},
		{"both", keys + "/key.pem", keys + "/cert.pem", keys + "/trust", false},
		{"no signature", "", "", keys + "/trust", true},
		{"another key", other + "/key.pem", other + "/cert.pem", keys + "/trust", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "artefact.tar")
			if _, err := oci.WriteArtifact(t.Context(), file, programs.Platforms(), newArtifact(t, tt.key, tt.cert)); err != nil {
				t.Fatal(err)
			}
			for _, p := range programs.Platforms() {
				fetch(t, file, tt.trust, p, tt.refused)
			}
		})
	}
}

func fetch(t *testing.T, file, trust string, p programs.Platform, refused bool) {
	t.Helper()
	client, err := artifact.New(artifact.Config{Trust: trust, Platform: artifact.Platform{OS: "linux", Architecture: p.Arch, Variant: p.Variant}})
	if err != nil {
		t.Fatal(err)
	}
	to := upgrade.Destination{Dir: t.TempDir(), Cache: t.TempDir()}
	release, err := client.Fetch(t.Context(), upgrade.Request{Source: file, Version: "v1.2.3"}, to)
	if refused {
		var no *artifact.RefusedError
		if !errors.As(err, &no) || no.What != "signature" {
			t.Errorf("%s: %v, want a refused signature", p, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", p, err)
	}
	body, err := os.ReadFile(filepath.Join(to.Dir, "edgecore"))
	if err != nil || !bytes.Equal(body, program(p, "edgecore")) || release.StoreFormat != 2 || release.Protocol != 1 {
		t.Errorf("%s: %q %v %+v", p, body, err, release)
	}
}

// TestArtifactIsReproducible: twice the same bytes, with a key too; and the form that was agreed on.
func TestArtifactIsReproducible(t *testing.T) {
	keys := t.TempDir()
	if err := sign.WriteKey(keys, "edgekit", time.Now()); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", keys + "/key.pem"} {
		a, dir := newArtifact(t, key, ""), t.TempDir()
		var bodies [2][]byte
		var digest string
		for i := range bodies {
			file := filepath.Join(dir, string(rune('a'+i)))
			var err error
			if digest, err = oci.WriteArtifact(t.Context(), file, programs.Platforms(), a); err != nil {
				t.Fatal(err)
			}
			if bodies[i], err = os.ReadFile(file); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(bodies[0], bodies[1]) {
			t.Error("two artefacts differ")
		}
		files := untar(t, bodies[0])
		var top ocispec.Index
		decode(t, files["index.json"], &top)
		if len(top.Manifests) == 0 || top.Manifests[0].Digest.String() != digest || top.Manifests[0].Annotations[ocispec.AnnotationRefName] != "v1.2.3" {
			t.Errorf("index.json: %+v", top.Manifests)
		}
		var index ocispec.Index
		decode(t, files["blobs/sha256/"+strings.TrimPrefix(digest, "sha256:")], &index)
		if index.ArtifactType != oci.ArtifactType || len(index.Manifests) != 4 || index.Manifests[2].Platform.Variant != "v7" {
			t.Errorf("index %+v", index)
		}
		for _, m := range index.Manifests {
			var manifest ocispec.Manifest
			decode(t, files["blobs/sha256/"+m.Digest.Encoded()], &manifest)
			if manifest.ArtifactType != oci.ArtifactType || manifest.Config.MediaType != oci.ConfigType || len(manifest.Layers) != 1 || manifest.Layers[0].MediaType != oci.LayerType {
				t.Errorf("manifest %+v", manifest)
			}
		}
	}
}

// TestImages: archives of all platforms, without root, with certificates, twice the same bytes.
func TestImages(t *testing.T) {
	img := oci.Image{
		Repository: "docker.io/edgekit/cloudcore", Version: "v1.2.3", Program: "cloudcore", Description: "d", Revision: "0123", Time: when,
		Ports: []string{"10000/tcp"}, Programs: platformPrograms(t),
	}
	dir := t.TempDir()
	var bodies [2][]byte
	for i := range bodies {
		file := filepath.Join(dir, string(rune('a'+i)))
		if err := oci.WriteImages(file, programs.Platforms(), img); err != nil {
			t.Fatal(err)
		}
		bodies[i], _ = os.ReadFile(file)
	}
	if !bytes.Equal(bodies[0], bodies[1]) {
		t.Error("two archives differ")
	}
	files := untar(t, bodies[0])
	var top, index ocispec.Index
	decode(t, files["index.json"], &top)
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/edgekit/cloudcore:v1.2.3" {
		t.Fatalf("index.json: %+v", top)
	}
	decode(t, files["blobs/sha256/"+top.Manifests[0].Digest.Encoded()], &index)
	if len(index.Manifests) != 4 {
		t.Fatalf("index: %+v", index)
	}
	for i, p := range programs.Platforms() {
		m := index.Manifests[i]
		var manifest ocispec.Manifest
		decode(t, files["blobs/sha256/"+m.Digest.Encoded()], &manifest)
		var config ocispec.Image
		decode(t, files["blobs/sha256/"+manifest.Config.Digest.Encoded()], &config)
		c := config.Config
		if m.Platform == nil || m.Platform.Architecture != p.Arch || m.Platform.Variant != p.Variant || config.Architecture != p.Arch ||
			c.User != "65532:65532" || c.Entrypoint[0] != "/cloudcore" || c.Labels[ocispec.AnnotationVersion] != "v1.2.3" || !config.Created.Equal(when) || len(manifest.Layers) != 2 {
			t.Errorf("%s: %+v %+v", p, m, config)
		}
	}
}

func untar(t *testing.T, body []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(body)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil || !h.ModTime.Equal(when) || h.Uid != 0 {
			t.Fatalf("%+v %v", h, err)
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(t *testing.T, body []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(body, to); err != nil {
		t.Fatalf("%v: %.80s", err, body)
	}
}

// TestBadKeys: each error names the file and the remedy.
func TestBadKeys(t *testing.T) {
	keys, other := t.TempDir(), t.TempDir()
	if err := errors.Join(sign.WriteKey(keys, "a", time.Now()), sign.WriteKey(other, "b", time.Now())); err != nil {
		t.Fatal(err)
	}
	if err := sign.WriteKey(keys, "a", time.Now()); !errors.Is(err, os.ErrExist) {
		t.Errorf("a key was overwritten: %v", err)
	}
	for _, tt := range []struct{ key, cert, want string }{
		{"/does/not/exist", "", "key"},
		{keys + "/cert.pem", "", "no unencrypted ECDSA P-256 key"},
		{keys + "/trust/trustpolicy.json", "", "no PEM file"},
		{keys + "/key.pem", keys + "/trust/trustpolicy.json", "has no certificate"},
		{keys + "/key.pem", other + "/cert.pem", "not that of the key"},
	} {
		if _, err := sign.Load(tt.key, tt.cert); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	_, err := oci.WriteArtifact(context.Background(), filepath.Join(t.TempDir(), "x"), programs.Platforms(), oci.Artifact{Programs: func(programs.Platform) string { return "/does/not/exist" }})
	if err == nil || !strings.Contains(err.Error(), "edgecore") {
		t.Errorf("no programs: %v", err)
	}
}
