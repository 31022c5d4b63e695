package artifact_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/edgekit/edgekit/edged/upgrade"
	"github.com/edgekit/edgekit/edged/upgrade/artifact"
	"github.com/edgekit/edgekit/edged/upgrade/artifacttest"
)

// program is an entry with a whole program.
func program(name string) artifacttest.Entry {
	return artifacttest.Entry{Name: name, Content: artifacttest.Program(artifact.Host(), "x")}
}

// TestHostileLayers: layers that are signed and nevertheless hostile write nothing but the two
// programs into the slot, and nothing at all anywhere else.
func TestHostileLayers(t *testing.T) {
	zeros := make([]byte, 2<<20)
	for name, test := range map[string]struct {
		layer []byte
		want  string
	}{
		"path traversal":      {artifacttest.Gzip(artifacttest.Tar(program("../../evil"))), "only edgecore and edgectl"},
		"path through a dot":  {artifacttest.Gzip(artifacttest.Tar(program("./edgecore"))), "only edgecore and edgectl"},
		"absolute path":       {artifacttest.Gzip(artifacttest.Tar(program("/etc/passwd"))), "only edgecore and edgectl"},
		"symbolic link":       {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Type: tar.TypeSymlink, Link: "/bin/sh"})), "only regular files"},
		"hard link":           {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Type: tar.TypeLink, Link: "/etc/shadow"})), "only regular files"},
		"link, then file":     {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgectl", Type: tar.TypeSymlink, Link: "../x"}, program("edgectl"))), "only regular files"},
		"character device":    {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Type: tar.TypeChar})), "only regular files"},
		"block device":        {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Type: tar.TypeBlock})), "only regular files"},
		"fifo":                {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Type: tar.TypeFifo})), "only regular files"},
		"folder":              {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Type: tar.TypeDir})), "only regular files"},
		"twice":               {artifacttest.Gzip(artifacttest.Tar(program("edgecore"), program("edgecore"))), "is there twice"},
		"one missing":         {artifacttest.Gzip(artifacttest.Tar(program("edgecore"))), "must have the files"},
		"nothing":             {artifacttest.Gzip(artifacttest.Tar()), "must have the files"},
		"an extra":            {artifacttest.Gzip(artifacttest.Tar(program("edgecore"), program("edgectl"), program("README"))), "only edgecore and edgectl"},
		"an empty program":    {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore"})), "want 1 to"},
		"extended header":     {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Content: []byte("x"), PAX: map[string]string{"SCHILY.xattr.security.capability": "x"}})), "the extended header"},
		"huge header":         {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Content: []byte("x"), PAX: map[string]string{"EDGEKIT.x": strings.Repeat("x", 100_000)}})), "a header is too large"},
		"long name":           {artifacttest.Gzip(artifacttest.Tar(program(strings.Repeat("a/", 20_000) + "x"))), "a header is too large"},
		"bomb in a program":   {artifacttest.Gzip(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Content: append(artifacttest.Program(artifact.Host(), ""), zeros...)})), "want 1 to 1048576"},
		"bomb after the tar":  {artifacttest.Gzip(append(artifacttest.Tar(program("edgecore"), program("edgectl")), zeros...)), "follow the tar"},
		"data after the tar":  {artifacttest.Gzip(append(artifacttest.Tar(program("edgecore"), program("edgectl")), 1)), "data follows the tar"},
		"cut off":             {artifacttest.Gzip(artifacttest.Tar(program("edgecore"), program("edgectl"))[:600]), "edgecore"},
		"gzip cut off":        {cutEnd(artifacttest.Gzip(artifacttest.Tar(program("edgecore"), program("edgectl")))), "its end"},
		"garbage after gzip":  {append(artifacttest.Gzip(artifacttest.Tar(program("edgecore"), program("edgectl"))), "junk"...), "its end"},
		"not compressed":      {artifacttest.Tar(program("edgecore"), program("edgectl")), "not compressed"},
		"no tar":              {artifacttest.Gzip(bytes.Repeat([]byte("x"), 2000)), "it is no tar"},
		"an empty layer":      {[]byte{0}, "not compressed"},
		"the size is a lie":   {artifacttest.Gzip(lie(artifacttest.Tar(program("edgecore"), program("edgectl")))), "layer"},
		"headers for ever":    {artifacttest.Gzip(bytes.Repeat(artifacttest.Tar(artifacttest.Entry{Name: "edgecore", Content: []byte("x"), PAX: map[string]string{"EDGEKIT.comment": "x"}})[:1024], 200)), "a header is too large"},
		"a sparse old header": {artifacttest.Gzip(sparse(artifacttest.Tar(program("edgecore"), program("edgectl")))), "layer"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, artifacttest.Options{Layer: test.layer})
			s.cfg.MaxFile = 1 << 20
			parent := t.TempDir()
			s.to.Dir = filepath.Join(parent, "a", "new")
			if err := os.MkdirAll(s.to.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			_, err := s.fetch(t.Context(), upgrade.Request{})
			s.wantRefused(t, err, test.want)
			found := 0
			if err := filepath.WalkDir(parent, func(string, os.DirEntry, error) error { found++; return nil }); err != nil || found != 3 {
				t.Errorf("%d files and folders, %v", found, err)
			}
		})
	}
}

func cutEnd(b []byte) []byte { return b[:len(b)-4] }

// lie makes the first header say another size, with the right checksum.
func lie(b []byte) []byte { copy(b[124:], "00000077777"); return sum(b) }

// sparse makes the first header one of an old GNU sparse file.
func sparse(b []byte) []byte {
	b[156] = tar.TypeGNUSparse
	copy(b[257:], "ustar  \x00")
	return sum(b)
}

func sum(b []byte) []byte {
	copy(b[148:156], "        ")
	n := 0
	for _, c := range b[:512] {
		n += int(c)
	}
	copy(b[148:], []byte{byte('0' + n>>15&7), byte('0' + n>>12&7), byte('0' + n>>9&7), byte('0' + n>>6&7), byte('0' + n>>3&7), byte('0' + n&7), 0, ' '})
	return b
}

// TestHostileLayouts: a layout from a USB stick or a server.
func TestHostileLayouts(t *testing.T) {
	good := func(t *testing.T) (*site, []artifacttest.Entry) {
		s := newSite(t, artifacttest.Options{})
		var entries []artifacttest.Entry
		for _, d := range []string{"oci-layout", "index.json"} {
			entries = append(entries, artifacttest.Entry{Name: d, Content: []byte(`{"imageLayoutVersion":"1.0.0","schemaVersion":2,"manifests":[]}`)})
		}
		return s, entries
	}
	digest := "blobs/sha256/" + strings.Repeat("a", 64)
	for name, test := range map[string]struct {
		add  []artifacttest.Entry
		cut  int
		want string
	}{
		"nothing in it":   {nil, 0, "it has 0 artefacts"},
		"path traversal":  {[]artifacttest.Entry{{Name: "blobs/sha256/../../../etc/passwd", Content: []byte("x")}}, 0, "is not one of an OCI image layout"},
		"symbolic link":   {[]artifacttest.Entry{{Name: digest, Type: tar.TypeSymlink, Link: "/etc/shadow"}}, 0, "only regular files"},
		"device":          {[]artifacttest.Entry{{Name: digest, Type: tar.TypeBlock}}, 0, "only regular files"},
		"twice":           {[]artifacttest.Entry{{Name: digest, Content: []byte("x")}, {Name: digest, Content: []byte("y")}}, 0, "is there twice"},
		"foreign file":    {[]artifacttest.Entry{{Name: "run.sh", Content: []byte("x")}}, 0, "is not one of an OCI image layout"},
		"foreign folder":  {[]artifacttest.Entry{{Name: "etc/", Type: tar.TypeDir}}, 0, "only regular files"},
		"huge header":     {[]artifacttest.Entry{{Name: digest, Content: []byte("x"), PAX: map[string]string{"EDGEKIT.x": strings.Repeat("x", 100_000)}}}, 0, "a header is too large"},
		"many files":      {many(300), 0, "more than 256 files"},
		"cut off":         {[]artifacttest.Entry{{Name: digest, Content: make([]byte, 4000)}}, 3000, "it is no tar"},
		"second index":    {[]artifacttest.Entry{{Name: "index.json", Content: []byte("{}")}}, 0, "is there twice"},
		"index too large": {[]artifacttest.Entry{{Name: "./oci-layout", Content: []byte("x")}}, 0, "is there twice"},
	} {
		t.Run(name, func(t *testing.T) {
			s, entries := good(t)
			content := artifacttest.Tar(append(entries, test.add...)...)
			file := filepath.Join(t.TempDir(), "node.tar")
			if err := os.WriteFile(file, content[:len(content)-test.cut], 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := s.fetch(t.Context(), upgrade.Request{Source: file})
			s.wantRefused(t, err, test.want)
		})
	}
}

func many(n int) []artifacttest.Entry {
	entries := make([]artifacttest.Entry, n)
	for i := range entries {
		name := []byte(strings.Repeat("0", 64))
		name[0], name[1], name[2] = "0123456789abcdef"[i>>8&15], "0123456789abcdef"[i>>4&15], "0123456789abcdef"[i&15]
		entries[i] = artifacttest.Entry{Name: "blobs/sha256/" + string(name)}
	}
	return entries
}

// TestHostileSizes: sizes in manifests are believed only within limits, and a registry that sends
// more or less than it says is found out.
func TestHostileSizes(t *testing.T) {
	for name, size := range map[string]int64{"negative": -1, "huge": 1 << 50, "short": 10, "long": 100_000} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, artifacttest.Options{})
			a := artifacttest.New(artifacttest.Options{})
			root := a.Root
			root.Size = size
			a.Index[0], a.Root = root, root
			a.SignKey(t, s.key)
			_, err := s.fetch(t.Context(), upgrade.Request{Source: a.WriteLayout(t, t.TempDir())})
			s.wantRefused(t, err, "")
		})
	}
}
