package artifacttest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/edged/upgrade/artifact"
)

// Options say what an artefact is. The zero value is v1.0.0 for this platform.
type Options struct {
	Version   string              // "" means v1.0.0
	Platforms []artifact.Platform // none means artifact.Host()
	Info      func(*artifact.Info)
	Programs  map[string][]byte // of the layer, by name; nil means Program of each platform
	Layer     []byte            // instead of Programs
	NoIndex   bool              // the root is the manifest of the first platform
	Manifest  func(*ocispec.Manifest)
}

// Artifact is an artefact and what belongs to it.
type Artifact struct {
	Root      ocispec.Descriptor
	Manifests []ocispec.Descriptor // one for each platform
	Blobs     map[string][]byte    // all, by digest
	Index     []ocispec.Descriptor // entries of a layout's index.json
}

// New makes an artefact without a signature.
func New(o Options) *Artifact {
	a := &Artifact{Blobs: make(map[string][]byte)}
	if o.Version == "" {
		o.Version = "v1.0.0"
	}
	if len(o.Platforms) == 0 {
		o.Platforms = []artifact.Platform{artifact.Host()}
	}
	for _, p := range o.Platforms {
		a.addPlatform(o, p)
	}
	a.Root = a.Manifests[0]
	if !o.NoIndex {
		a.Root = a.Add(ocispec.MediaTypeImageIndex, Marshal(ocispec.Index{
			Versioned: ocispecs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, ArtifactType: artifact.ArtifactType, Manifests: a.Manifests,
		}))
	}
	a.Index = []ocispec.Descriptor{a.Root}
	return a
}

func (a *Artifact) addPlatform(o Options, p artifact.Platform) {
	info := artifact.Info{Version: o.Version, OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, StoreFormat: 2, StoreFormatsRead: []int{1, 2}, Protocol: 1}
	if o.Info != nil {
		o.Info(&info)
	}
	layer := o.Layer
	if layer == nil {
		programs := o.Programs
		if programs == nil {
			programs = map[string][]byte{upgrade.Program: Program(p, "edgecore "+o.Version), upgrade.Control: Program(p, "edgectl "+o.Version)}
		}
		var headers []Entry
		for _, name := range slices.Sorted(maps.Keys(programs)) {
			headers = append(headers, Entry{Name: name, Content: programs[name]})
		}
		layer = Gzip(Tar(headers...))
	}
	m := ocispec.Manifest{
		Versioned: ocispecs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: artifact.ArtifactType,
		Config: a.Add(artifact.ConfigType, Marshal(info)), Layers: []ocispec.Descriptor{a.Add(artifact.LayerType, layer)},
	}
	if o.Manifest != nil {
		o.Manifest(&m)
	}
	d := a.Add(ocispec.MediaTypeImageManifest, Marshal(m))
	d.ArtifactType = artifact.ArtifactType
	d.Platform = &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	a.Manifests = append(a.Manifests, d)
}

// Add adds a blob and returns its descriptor.
func (a *Artifact) Add(mediaType string, content []byte) ocispec.Descriptor {
	sum := sha256.Sum256(content)
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest("sha256:" + hex.EncodeToString(sum[:])), Size: int64(len(content))}
	a.Blobs[string(d.Digest)] = content
	return d
}

// Layout is the artefact as an OCI image layout in a tar.
func (a *Artifact) Layout() []byte {
	entries := []Entry{
		{Name: "oci-layout", Content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{Name: "index.json", Content: Marshal(ocispec.Index{Versioned: ocispecs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: a.Index})},
		{Name: "blobs/", Type: tar.TypeDir},
		{Name: "blobs/sha256/", Type: tar.TypeDir},
	}
	for _, d := range slices.Sorted(maps.Keys(a.Blobs)) {
		entries = append(entries, Entry{Name: "blobs/sha256/" + d[len("sha256:"):], Content: a.Blobs[d]})
	}
	return Tar(entries...)
}

// WriteLayout writes the layout into a folder and returns the file's path.
func (a *Artifact) WriteLayout(t testing.TB, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "node.tar")
	if err := os.WriteFile(name, a.Layout(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Entry is one of a tar. The zero Type is a regular file.
type Entry struct {
	Name    string
	Type    byte
	Link    string
	Content []byte
	PAX     map[string]string
}

// Tar makes a tar of entries, hostile ones too.
func Tar(entries ...Entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.Name, Typeflag: e.Type, Linkname: e.Link, Size: int64(len(e.Content)), Mode: 0o755, PAXRecords: e.PAX}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag != tar.TypeReg {
			h.Size = 0
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		if h.Size > 0 {
			if _, err := w.Write(e.Content); err != nil {
				panic(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Gzip compresses.
func Gzip(content []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// Program is the head of a program for a platform, with a text after it. It cannot run.
func Program(p artifact.Platform, text string) []byte {
	head := make([]byte, 64, 64+len(text))
	copy(head, "\x7fELF\x02\x01\x01")
	number := map[string]uint16{"amd64": 62, "arm64": 183, "arm": 40, "riscv64": 243}[p.Architecture]
	if p.Architecture == "arm" {
		head[4] = 1
	}
	binary.LittleEndian.PutUint16(head[16:], 2)
	binary.LittleEndian.PutUint16(head[18:], number)
	return append(head, text...)
}

// Marshal is the JSON of v.
func Marshal(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return text
}
