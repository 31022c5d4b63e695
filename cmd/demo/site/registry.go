package site

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/edgekit/edgekit/cmd/cluster/image"
)

// RegistryAddress is where a Registry is, seen from inside the node's network.
const RegistryAddress = "127.0.0.1:5555"

// Registry is a registry on the node's own network with a single image: enough of
// the OCI distribution API to be pulled from. It needs no link.
type Registry struct {
	server *http.Server
	done   sync.WaitGroup

	mu       sync.Mutex
	manifest []byte
	blobs    map[string][]byte // by digest
	pulls    int
}

// ServeImage starts a Registry with the image of a program, which every name and
// tag leads to.
func (s *Site) ServeImage(ctx context.Context, program string) (*Registry, error) {
	r := &Registry{blobs: make(map[string][]byte)}
	if err := r.load(program); err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	l, err := s.Network().Listen(ctx, "tcp", RegistryAddress)
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	r.server = &http.Server{Handler: r, ReadHeaderTimeout: 5 * time.Second}
	r.done.Go(func() { _ = r.server.Serve(l) }) // until Close
	return r, nil
}

// Close ends the registry: who pulls then finds nobody.
func (r *Registry) Close() error {
	err := r.server.Close()
	r.done.Wait()
	return err
}

// Pulls is how often the manifest was read.
func (r *Registry) Pulls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pulls
}

// ServeHTTP answers /v2/, /v2/NAME/manifests/REFERENCE and /v2/NAME/blobs/DIGEST.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	const manifestType = "application/vnd.oci.image.manifest.v1+json"
	body, kind := []byte("{}"), "application/json"
	switch dir, last := path.Split(req.URL.Path); {
	case strings.HasSuffix(dir, "/manifests/"):
		r.mu.Lock()
		r.pulls++
		r.mu.Unlock()
		body, kind = r.manifest, manifestType
	case strings.HasSuffix(dir, "/blobs/"):
		blob, ok := r.blobs[last]
		if !ok {
			http.NotFound(w, req)
			return
		}
		body, kind = blob, "application/octet-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Docker-Content-Digest", digest(body))
	http.ServeContent(w, req, "", time.Time{}, bytes.NewReader(body))
}

// load makes the image and takes it apart: its archive has the configuration and
// the layers as files, and manifest.json names them.
func (r *Registry) load(program string) error {
	var archive bytes.Buffer
	inside := "/" + path.Base(program)
	err := image.Write(&archive, image.Image{Refs: []string{RegistryAddress + "/image:latest"}, Entrypoint: []string{inside},
		Files: []image.File{{Path: inside, Source: program}}})
	if err != nil {
		return err
	}
	files := make(map[string][]byte)
	for t := tar.NewReader(&archive); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if files[h.Name], err = io.ReadAll(t); err != nil {
			return err
		}
	}
	var list []struct {
		Config string
		Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &list); err != nil {
		return err
	}
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	blob := func(file, mediaType string) descriptor {
		body := files[file]
		r.blobs[digest(body)] = body
		return descriptor{mediaType, digest(body), len(body)}
	}
	manifest := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{2, "application/vnd.oci.image.manifest.v1+json", blob(list[0].Config, "application/vnd.oci.image.config.v1+json"), nil}
	for _, layer := range list[0].Layers {
		manifest.Layers = append(manifest.Layers, blob(layer, "application/vnd.oci.image.layer.v1.tar"))
	}
	r.manifest, err = json.Marshal(manifest)
	return err
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
