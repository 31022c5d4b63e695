package artifacttest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	ocispecs "github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Registry serves one artefact as the repository edgekit/node with the tag latest, or with the tag
// that Tag says. It may be used by several goroutines.
type Registry struct {
	Artifact *Artifact
	Tag      string // "" means latest
	User     string // "" admits everybody
	Password string
	// Before may answer a request itself; it then returns true. nil answers none.
	Before func(http.ResponseWriter, *http.Request) bool

	Blobs atomic.Int64 // requests for blobs
	Bytes atomic.Int64 // bytes of blobs that were asked for
}

// ServeHTTP implements http.Handler.
func (r *Registry) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	if r.Before != nil && r.Before(w, q) {
		return
	}
	if user, password, _ := q.BasicAuth(); r.User != "" && (user != r.User || password != r.Password) {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	kind, name, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/v2/edgekit/node/"), "/")
	switch kind {
	case "manifests":
		d, ok := r.find(name)
		if !ok {
			http.NotFound(w, q)
			return
		}
		w.Header().Set("Content-Type", d.MediaType)
		w.Header().Set("Docker-Content-Digest", string(d.Digest))
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(r.Artifact.Blobs[string(d.Digest)]))
	case "referrers":
		r.referrers(w, name)
	case "blobs":
		content, ok := r.Artifact.Blobs[name]
		if !ok {
			http.NotFound(w, q)
			return
		}
		r.Blobs.Add(1)
		r.Bytes.Add(int64(len(content)))
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, q, "", time.Time{}, bytes.NewReader(content))
	default:
		http.NotFound(w, q)
	}
}

// find finds a manifest by its digest or tag.
func (r *Registry) find(name string) (ocispec.Descriptor, bool) {
	tag := r.Tag
	if tag == "" {
		tag = "latest"
	}
	if name == tag {
		return r.Artifact.Root, true
	}
	for _, d := range append(append([]ocispec.Descriptor{r.Artifact.Root}, r.Artifact.Manifests...), r.Artifact.Index...) {
		if name == string(d.Digest) || name == d.Annotations[ocispec.AnnotationRefName] {
			return d, true
		}
	}
	return ocispec.Descriptor{}, false
}

func (r *Registry) referrers(w http.ResponseWriter, subject string) {
	index := ocispec.Index{Versioned: ocispecs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{}}
	for _, d := range r.Artifact.Index {
		var m ocispec.Manifest
		if json.Unmarshal(r.Artifact.Blobs[string(d.Digest)], &m) == nil && m.Subject != nil && string(m.Subject.Digest) == subject {
			index.Manifests = append(index.Manifests, d)
		}
	}
	w.Header().Set("Content-Type", ocispec.MediaTypeImageIndex)
	_, _ = w.Write(Marshal(index)) // the client may have gone
}
