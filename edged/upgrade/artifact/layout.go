package artifact

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

// layout is an OCI image layout in an uncompressed tar.
type layout struct {
	file   *os.File
	ours   bool             // only this program writes the file
	blobs  map[string]place // by digest
	index  []ocispec.Descriptor
	digest string // of the request
	host   Platform
}

// place is where a blob is in the file.
type place struct{ offset, size int64 }

// openFile opens a layout that others may write to.
func openFile(name, digest string, cfg Config) (source, error) {
	regular := func(info os.FileInfo, err error) error {
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a regular file", name)
		}
		return err
	}
	if err := regular(os.Stat(name)); err != nil { // before it is opened: that waits for the writer of a pipe
		return nil, refuse("source", "%v", err)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, refuse("source", "%v", err)
	}
	if err := regular(f.Stat()); err != nil {
		return nil, errors.Join(refuse("source", "%v", err), f.Close())
	}
	return newLayout(f, digest, cfg.Platform)
}

// newLayout reads the names in the tar. It closes the file if it fails.
func newLayout(f *os.File, digest string, host Platform) (*layout, error) {
	l := &layout{file: f, blobs: make(map[string]place), digest: digest, host: host}
	files, err := l.scan(f)
	if err == nil {
		err = l.readIndex(files)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return l, nil
}

// maxLayoutHeader is how many bytes of headers a layout may have.
const maxLayoutHeader = 64 << 10

// scan finds the files of the layout. It reads no content but that of the headers.
func (l *layout) scan(f io.ReadSeeker) (map[string]place, error) {
	files := make(map[string]place)
	count := &counter{r: f}
	bounded := &allowance{r: count}
	archive := tar.NewReader(seekable{bounded, count, f})
	for n := 0; ; n++ {
		bounded.left = maxLayoutHeader
		h, err := archive.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, refuse("source", "it is no tar of an OCI image layout: %v", err)
		}
		name := strings.TrimPrefix(h.Name, "./")
		at := place{count.n, h.Size}
		_, twice := files[name]
		switch {
		case n >= 4*maxEntries:
			return nil, refuse("source", "it has more than %d files", 4*maxEntries)
		case h.Typeflag == tar.TypeDir && strings.HasPrefix("blobs/sha256/", path.Clean(name)+"/"), h.Typeflag == tar.TypeDir && name == "":
			continue
		case h.Typeflag != tar.TypeReg || h.PAXRecords["GNU.sparse.major"] != "" || h.Size < 0:
			return nil, refuse("source", "entry %.80q has type %q: only regular files are allowed", h.Name, h.Typeflag)
		case twice:
			return nil, refuse("source", "entry %.80q is there twice", h.Name)
		case name == "index.json" || name == "oci-layout" || name == "manifest.json":
		case path.Dir(name) == "blobs/sha256" && isDigest("sha256:"+path.Base(name)) && path.Clean(name) == name:
			l.blobs["sha256:"+path.Base(name)] = at
		default:
			return nil, refuse("source", "entry %.80q is not one of an OCI image layout", h.Name)
		}
		files[name] = at
	}
}

// readIndex reads oci-layout and index.json.
func (l *layout) readIndex(files map[string]place) error {
	var version struct {
		Version string `json:"imageLayoutVersion"`
	}
	text, err := l.read(files["oci-layout"], maxConfig)
	if err != nil || jsonlimit.Unmarshal(text, &version) != nil || version.Version != ocispec.ImageLayoutVersion {
		return refuse("source", "it is no OCI image layout: oci-layout is missing or of another version")
	}
	if text, err = l.read(files["index.json"], maxIndex); err != nil {
		return err
	}
	l.index, err = parseIndex(text)
	return err
}

func (l *layout) read(p place, limit int64) ([]byte, error) {
	if p.size == 0 || p.size > limit {
		return nil, refuse("source", "a file of the layout is missing or larger than %d bytes", limit)
	}
	text := make([]byte, p.size)
	if _, err := l.file.ReadAt(text, p.offset); err != nil {
		return nil, refuse("source", "it is cut off: %v", err)
	}
	return text, nil
}

func (l *layout) scope() string { return LocalScope }

// resolve finds the one artefact among signatures.
func (l *layout) resolve(ctx context.Context) (ocispec.Descriptor, error) {
	var found []ocispec.Descriptor
	for _, d := range l.index {
		switch {
		case l.digest != "" && string(d.Digest) == l.digest:
			return d, nil
		case d.MediaType != ocispec.MediaTypeImageIndex && d.MediaType != ocispec.MediaTypeImageManifest:
		case d.ArtifactType == signatureType || isSignatureTag(d.Annotations[ocispec.AnnotationRefName]):
		case d.Platform != nil && !l.host.runs(d.Platform.OS, d.Platform.Architecture, d.Platform.Variant):
		case l.refers(ctx, d):
		default:
			found = append(found, d)
		}
	}
	if len(found) != 1 {
		return ocispec.Descriptor{}, refuse("source", "it has %d artefacts for %s: want one, or a digest", len(found), l.host)
	}
	return found[0], nil
}

// isSignatureTag reports whether a tag is one of cosign or of the referrers' schema.
func isSignatureTag(tag string) bool {
	hex, ok := strings.CutPrefix(tag, "sha256-")
	return ok && len(hex) >= 64
}

// refers reports whether a manifest refers to another: a signature whose entry does not say so.
func (l *layout) refers(ctx context.Context, d ocispec.Descriptor) bool {
	m, err := l.manifest(ctx, d)
	return err == nil && m.Subject != nil
}

func (l *layout) manifest(ctx context.Context, d ocispec.Descriptor) (m ocispec.Manifest, err error) {
	if d.MediaType != ocispec.MediaTypeImageManifest {
		return m, refuse("manifest", "mediaType is %.80q", d.MediaType)
	}
	text, err := l.fetch(ctx, d, maxManifest)
	if err != nil {
		return m, err
	}
	return m, jsonlimit.Unmarshal(text, &m)
}

func (l *layout) fetch(_ context.Context, d ocispec.Descriptor, limit int64) ([]byte, error) {
	p, ok := l.blobs[string(d.Digest)]
	if !ok {
		return nil, refuse("source", "it has no %.80q", string(d.Digest))
	}
	if p.size != d.Size {
		return nil, refuse("source", "%s has %d bytes and should have %d", d.Digest, p.size, d.Size)
	}
	text, err := l.read(p, limit)
	if err != nil {
		return nil, err
	}
	return text, compareDigest(text, d)
}

func (l *layout) signatures(ctx context.Context, subject ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	entries := l.index
	for _, d := range l.index { // the referrers' tag schema
		if d.MediaType == ocispec.MediaTypeImageIndex && d.Annotations[ocispec.AnnotationRefName] == tagOf(subject) {
			text, err := l.fetch(ctx, d, maxIndex)
			if err != nil {
				return nil, err
			}
			more, err := parseIndex(text)
			if err != nil {
				return nil, err
			}
			entries = slices.Concat(entries, more)
		}
	}
	var found []ocispec.Descriptor
	for _, d := range entries {
		if m, err := l.manifest(ctx, d); err == nil && m.Subject != nil && m.Subject.Digest == subject.Digest {
			found = append(found, d)
		}
	}
	return found, nil
}

func (l *layout) tagged(_ context.Context, tag string) (ocispec.Descriptor, bool, error) {
	for _, d := range l.index {
		if name := d.Annotations[ocispec.AnnotationRefName]; name == tag || strings.HasSuffix(name, ":"+tag) {
			return d, true, nil
		}
	}
	return ocispec.Descriptor{}, false, nil
}

func (l *layout) section(d ocispec.Descriptor, offset int64) (*io.SectionReader, error) {
	p, ok := l.blobs[string(d.Digest)]
	if !ok || p.size != d.Size {
		return nil, refuse("source", "it has no %.80q of %d bytes", string(d.Digest), d.Size)
	}
	return io.NewSectionReader(l.file, p.offset+offset, p.size-offset), nil
}

func (l *layout) blob(_ context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	section, err := l.section(d, offset)
	return io.NopCloser(section), offset, err
}

func (l *layout) local(d ocispec.Descriptor) (readSeekCloser, bool) {
	if !l.ours {
		return nil, false
	}
	section, err := l.section(d, 0)
	return noClose{section}, err == nil
}

func (l *layout) Close() error { return l.file.Close() }

type noClose struct{ io.ReadSeeker }

func (noClose) Close() error { return nil }

// counter counts the bytes before the present place.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// seekable lets archive/tar skip content without reading it.
type seekable struct {
	io.Reader
	count *counter
	file  io.Seeker
}

func (s seekable) Seek(offset int64, whence int) (int64, error) {
	at, err := s.file.Seek(offset, whence)
	if err == nil {
		s.count.n = at
	}
	return at, err
}
