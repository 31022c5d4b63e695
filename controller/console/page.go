package console

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// The page as it is built: "npm run build" in the folder page writes it.
//
//go:embed page/dist
var dist embed.FS

// pageFile is one file of the page, as it is sent.
type pageFile struct {
	media       string
	raw, zipped []byte // zipped is nil where it is not shorter
	tag         string // the entity tag, of the content
}

var (
	// fileName is a path that can only be a file's. Names of nodes have dots too.
	fileName = regexp.MustCompile(`\.(js|css|map|svg|png|ico|json|txt|html|woff2)$`)
	// hashedName has the hash of the file's content, as esbuild writes it.
	hashedName = regexp.MustCompile(`[-.][0-9A-Za-z]{8,}\.[a-z0-9]+$`)
)

// page serves the files of the page. It is not changed once it is made.
type page struct{ files map[string]pageFile }

// newPage reads the embedded files and compresses each once.
func newPage() (*page, error) {
	p := &page{files: make(map[string]pageFile)}
	err := fs.WalkDir(dist, "page/dist", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := dist.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(raw)
		f := pageFile{media: mediaType(name), raw: raw, tag: `"` + hex.EncodeToString(sum[:12]) + `"`}
		var b bytes.Buffer
		z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err := z.Write(raw); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		if b.Len() < len(raw) {
			f.zipped = b.Bytes()
		}
		p.files[strings.TrimPrefix(name, "page/dist/")] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the page: %w", err)
	}
	if _, ok := p.files["index.html"]; !ok {
		return nil, fmt.Errorf("the page has no index.html: build it in controller/console/page")
	}
	return p, nil
}

// mediaType does not ask the machine's own tables, which may be wrong.
func mediaType(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".json", ".map":
		return "application/json"
	case ".txt":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// ServeHTTP sends a file. A path that looks like no file is one of the page's own, and gets
// index.html.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "only GET is served here", http.StatusMethodNotAllowed)
		return
	}
	name := strings.TrimPrefix(r.URL.Path, "/console/")
	f, ok := p.files[name]
	switch {
	case !ok && fileName.MatchString(name):
		http.Error(w, "the console has no such file", http.StatusNotFound)
		return
	case !ok || name == "index.html":
		f = p.files["index.html"]
		w.Header().Set("Cache-Control", "no-cache")
	case hashedName.MatchString(name):
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	default:
		w.Header().Set("Cache-Control", "no-cache")
	}
	w.Header().Set("ETag", f.tag)
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", f.media)
	w.Header().Set("Vary", "Accept-Encoding")
	if f.zipped != nil && acceptsGzip(r.Header.Get("Accept-Encoding")) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(f.zipped)
		return
	}
	_, _ = w.Write(f.raw)
}

// acceptsGzip reports whether a client wants gzip.
func acceptsGzip(header string) bool {
	for clause := range strings.SplitSeq(header, ",") {
		coding, params, err := mime.ParseMediaType("a/" + strings.TrimSpace(clause))
		if err == nil && (coding == "a/gzip" || coding == "a/*") && params["q"] != "0" {
			return true
		}
	}
	return false
}
