package oci

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"

	"github.com/edgekit/edgekit/cmd/release/archive"
	"github.com/edgekit/edgekit/cmd/release/programs"
)

// Media types of the artefact that a node upgrades to.
const (
	ArtifactType = "application/vnd.edgekit.node.v1"
	ConfigType   = "application/vnd.edgekit.node.config.v1+json"
	LayerType    = "application/vnd.edgekit.node.layer.v1.tar+gzip"
)

// Config says what is in the artefact of one platform.
type Config struct {
	Version          string `json:"version"` // v1.2.3
	OS               string `json:"os"`
	Architecture     string `json:"architecture"`
	Variant          string `json:"variant,omitempty"`
	StoreFormat      int    `json:"storeFormat"`      // of the node's store, as this version writes it
	StoreFormatsRead []int  `json:"storeFormatsRead"` // that it can read
	Protocol         int    `json:"protocol"`         // of the link
}

// Artifact describes what nodes upgrade to: edgecore and edgectl.
type Artifact struct {
	Config   Config // of all platforms; without OS, Architecture and Variant
	Revision string // the commit
	Time     time.Time
	// Programs is the folder with a platform's programs.
	Programs func(programs.Platform) string
	// Sign, if not nil, adds signatures of the index to the layout in the folder.
	Sign func(ctx context.Context, dir string, index ocispec.Descriptor) error
}

// WriteArtifact writes the archive: an index, tagged with the version, of a manifest for each
// platform. It returns the index's digest.
func WriteArtifact(ctx context.Context, file string, platforms []programs.Platform, a Artifact) (digest string, err error) {
	dir, err := os.MkdirTemp("", "edgekit-artifact-")
	if err != nil {
		return "", fmt.Errorf("oci: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary folder
	store, err := oci.NewWithContext(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("oci: %w", err)
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: ArtifactType,
		Annotations: a.annotations(),
	}
	for _, p := range platforms {
		manifest, err := a.manifest(ctx, store, p)
		if err != nil {
			return "", fmt.Errorf("oci: artefact for %s: %w", p, err)
		}
		manifest.Platform = &ocispec.Platform{OS: "linux", Architecture: p.Arch, Variant: p.Variant}
		manifest.Annotations = nil
		index.Manifests = append(index.Manifests, manifest)
	}
	body, err := json.Marshal(index)
	if err != nil {
		return "", fmt.Errorf("oci: %w", err)
	}
	top := content.NewDescriptorFromBytes(ocispec.MediaTypeImageIndex, body)
	top.ArtifactType = ArtifactType
	if err := store.Push(ctx, top, bytes.NewReader(body)); err != nil {
		return "", fmt.Errorf("oci: %w", err)
	}
	if err := store.Tag(ctx, top, a.Config.Version); err != nil {
		return "", fmt.Errorf("oci: %w", err)
	}
	if a.Sign != nil {
		if err := a.Sign(ctx, dir, top); err != nil {
			return "", err
		}
	}
	if err := trimIndex(dir, index); err != nil {
		return "", err
	}
	return top.Digest.String(), writeLayout(file, dir, a.Time)
}

// trimIndex takes out of the layout's index.json what the index lists, and puts the index first: a
// reader finds what was tagged, and its signatures.
func trimIndex(dir string, index ocispec.Index) error {
	path := filepath.Join(dir, ocispec.ImageIndexFile)
	body, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	var all ocispec.Index
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	all.MediaType = ocispec.MediaTypeImageIndex
	all.Manifests = slices.DeleteFunc(all.Manifests, func(d ocispec.Descriptor) bool {
		return slices.ContainsFunc(index.Manifests, func(m ocispec.Descriptor) bool { return m.Digest == d.Digest })
	})
	slices.SortStableFunc(all.Manifests, func(a, b ocispec.Descriptor) int {
		return cmp.Or(cmp.Compare(b.ArtifactType, a.ArtifactType), cmp.Compare(a.Digest, b.Digest))
	})
	if body, err = json.Marshal(all); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	if err := os.WriteFile(path, body, 0o644); err != nil {
		return fmt.Errorf("oci: %w", err)
	}
	return nil
}

func (a Artifact) annotations() map[string]string {
	return map[string]string{
		ocispec.AnnotationTitle: "edgekit node", ocispec.AnnotationVersion: a.Config.Version, ocispec.AnnotationRevision: a.Revision,
		ocispec.AnnotationCreated: a.Time.Format(time.RFC3339), ocispec.AnnotationLicenses: "Apache-2.0",
	}
}

func (a Artifact) manifest(ctx context.Context, store *oci.Store, p programs.Platform) (none ocispec.Descriptor, err error) {
	var entries []archive.Entry
	for _, name := range []string{"edgecore", "edgectl"} {
		entries = append(entries, archive.Entry{Name: name, Mode: 0o755, Source: filepath.Join(a.Programs(p), name)})
	}
	files, err := archive.Bytes(a.Time, entries...)
	if err != nil {
		return none, err
	}
	layer, err := compress(files)
	if err != nil {
		return none, err
	}
	config := a.Config
	config.OS, config.Architecture, config.Variant = "linux", p.Arch, p.Variant
	text, err := json.Marshal(config)
	if err != nil {
		return none, err
	}
	c := content.NewDescriptorFromBytes(ConfigType, text)
	l := content.NewDescriptorFromBytes(LayerType, layer)
	for _, part := range []struct {
		desc ocispec.Descriptor
		body []byte
	}{{c, text}, {l, layer}} {
		if err := store.Push(ctx, part.desc, bytes.NewReader(part.body)); err != nil {
			return none, err
		}
	}
	return oras.PackManifest(ctx, store, oras.PackManifestVersion1_1, ArtifactType, oras.PackManifestOptions{
		ConfigDescriptor: &c, Layers: []ocispec.Descriptor{l}, ManifestAnnotations: a.annotations(),
	})
}

func compress(body []byte) ([]byte, error) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}
