package oci

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"

	"github.com/edgekit/edgekit/cmd/release/archive"
	"github.com/edgekit/edgekit/cmd/release/programs"
)

// user is who programs in images run as: "nonroot" of many base images.
const user = "65532"

// Image describes an image of one program for several platforms.
type Image struct {
	Repository  string // docker.io/edgekit/cloudcore
	Version     string // its tag; v1.2.3
	Program     string // cloudcore: the entrypoint is /cloudcore
	Description string
	Revision    string    // the commit
	Time        time.Time // of all files and of the image
	Ports       []string  // "10000/tcp"
	// Programs is the folder with a platform's programs.
	Programs func(programs.Platform) string
}

// WriteImages writes an archive with the images for the platforms. containerd imports it ("ctr
// -n k8s.io images import FILE"), as podman, skopeo and crane do.
func WriteImages(file string, platforms []programs.Platform, images ...Image) error {
	dir, err := os.MkdirTemp("", "edgekit-images-")
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	for _, img := range images {
		index, err := img.index(platforms)
		if err != nil {
			return fmt.Errorf("oci: image %s: %w", img.Repository, err)
		}
		// containerd takes the first for the image's name, others the second.
		err = l.AppendIndex(index, layout.WithAnnotations(map[string]string{
			"io.containerd.image.name":          img.Repository + ":" + img.Version,
			"org.opencontainers.image.ref.name": img.Version,
		}))
		if err != nil {
			return fmt.Errorf("oci: image %s: %w", img.Repository, err)
		}
	}
	return writeLayout(file, dir, latest(images))
}

func latest(images []Image) (t time.Time) {
	for _, img := range images {
		if img.Time.After(t) {
			t = img.Time
		}
	}
	return t
}

func (img Image) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       img.Program,
		"org.opencontainers.image.description": img.Description,
		"org.opencontainers.image.version":     img.Version,
		"org.opencontainers.image.revision":    img.Revision,
		"org.opencontainers.image.created":     img.Time.Format(time.RFC3339),
		"org.opencontainers.image.source":      "https://github.com/edgekit/edgekit",
		"org.opencontainers.image.vendor":      "edgekit",
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

func (img Image) index(platforms []programs.Platform) (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range platforms {
		one, err := img.image(p)
		if err != nil {
			return nil, err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        one,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: p.Arch, Variant: p.Variant}},
		})
	}
	annotated, ok := mutate.Annotations(index, img.labels()).(v1.ImageIndex)
	if !ok {
		return nil, fmt.Errorf("annotations of an index give no index")
	}
	return annotated, nil
}

// image has two layers: what all images have, and the program.
func (img Image) image(p programs.Platform) (v1.Image, error) {
	base, err := img.layer(baseFiles()...)
	if err != nil {
		return nil, err
	}
	body, err := os.ReadFile(filepath.Join(img.Programs(p), img.Program))
	if err != nil {
		return nil, err
	}
	program, err := img.layer(archive.Entry{Name: img.Program, Mode: 0o755, Body: body})
	if err != nil {
		return nil, err
	}
	one := mutate.MediaType(mutate.ConfigMediaType(empty.Image, types.OCIConfigJSON), types.OCIManifestSchema1)
	created := v1.History{Created: v1.Time{Time: img.Time}, CreatedBy: "edgekit"}
	one, err = mutate.Append(one, mutate.Addendum{Layer: base, History: created}, mutate.Addendum{Layer: program, History: created})
	if err != nil {
		return nil, err
	}
	config, err := one.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = "linux", p.Arch, p.Variant
	config.Created = v1.Time{Time: img.Time}
	config.Config = v1.Config{
		Entrypoint: []string{"/" + img.Program}, User: user + ":" + user, WorkingDir: "/",
		Env:    []string{"PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
		Labels: img.labels(), ExposedPorts: map[string]struct{}{},
	}
	for _, port := range img.Ports {
		config.Config.ExposedPorts[port] = struct{}{}
	}
	return mutate.ConfigFile(one, config)
}

// baseFiles are users, certificate authorities and a folder for temporary files.
func baseFiles() []archive.Entry {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil { // a file of certificates cannot say until when one is trusted
			_ = pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // into memory
		}
	}
	return []archive.Entry{
		{Name: "etc/", Mode: 0o755}, {Name: "etc/ssl/", Mode: 0o755}, {Name: "etc/ssl/certs/", Mode: 0o755}, {Name: "tmp/", Mode: 0o1777},
		{Name: "etc/passwd", Mode: 0o644, Body: []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:" + user + ":" + user + ":nonroot:/:/sbin/nologin\n")},
		{Name: "etc/group", Mode: 0o644, Body: []byte("root:x:0:\nnonroot:x:" + user + ":\n")},
		{Name: "etc/ssl/certs/ca-certificates.crt", Mode: 0o644, Body: roots.Bytes()},
	}
}

func (img Image) layer(entries ...archive.Entry) (v1.Layer, error) {
	body, err := archive.Bytes(img.Time, entries...)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil },
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
}

// writeLayout writes the OCI image layout in the folder to an archive.
func writeLayout(file, dir string, mtime time.Time) error {
	entries, err := archive.Folder(dir, func(name string) bool { return name == "index.json.lock" || name == "ingest" })
	if err != nil {
		return err
	}
	return archive.File(file, mtime, entries...)
}
