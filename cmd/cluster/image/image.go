package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Image describes an image to write.
type Image struct {
	Refs         []string // names with tags; at least one
	Entrypoint   []string
	Cmd          []string
	Env          []string // "KEY=value", added to a PATH
	User         string   // uid or uid:gid; empty is root
	Architecture string   // Go's name; empty is this program's own
	// Base is a local tar file with the image's lower layer. Images of one
	// archive share it. Empty is none.
	Base  string
	Files []File // the upper layer
}

// File is one file of the image's upper layer.
type File struct {
	Path   string // absolute, in the image
	Source string // the local file to copy
	Link   string // where a symbolic link leads, instead of Source
	Mode   int64  // 0 means 0755
}

const created = "2026-01-01T00:00:00Z" // fixed, so that images are reproducible

// Write writes an archive with the images to w.
func Write(w io.Writer, images ...Image) error {
	t := tar.NewWriter(w)
	written := make(map[string]bool) // parts of the archive: what images share is there once
	part := func(name string, body []byte) error {
		if written[name] {
			return nil
		}
		written[name] = true
		return add(t, &tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}, body)
	}
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	var manifest []entry
	for _, img := range images {
		if len(img.Refs) == 0 {
			return errors.New("image: Image.Refs needs at least one name")
		}
		layer, err := img.layer()
		if err != nil {
			return err
		}
		layers := [][]byte{layer}
		if img.Base != "" {
			base, err := os.ReadFile(img.Base)
			if err != nil {
				return fmt.Errorf("image: %w", err)
			}
			layers = [][]byte{base, layer}
		}
		e := entry{RepoTags: img.Refs}
		var diffs []string
		for _, l := range layers {
			diff := digest(l)
			diffs, e.Layers = append(diffs, "sha256:"+diff), append(e.Layers, diff+".tar")
			if err := part(diff+".tar", l); err != nil {
				return err
			}
		}
		config, err := img.config(diffs)
		if err != nil {
			return err
		}
		e.Config = digest(config) + ".json"
		if err := part(e.Config, config); err != nil {
			return err
		}
		manifest = append(manifest, e)
	}
	list, err := json.Marshal(manifest)
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	if err := part("manifest.json", list); err != nil {
		return err
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return nil
}

// layer makes the upper layer: the folders that container runtimes mount over,
// and the files.
func (img Image) layer() ([]byte, error) {
	var buf bytes.Buffer
	t := tar.NewWriter(&buf)
	made := map[string]bool{}
	folder := func(dir string) error {
		var below string
		for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
			below = path.Join(below, part)
			if below == "" || made[below] {
				continue
			}
			made[below] = true
			mode := int64(0o755)
			if below == "tmp" {
				mode = 0o1777
			}
			if err := add(t, &tar.Header{Typeflag: tar.TypeDir, Name: below + "/", Mode: mode}, nil); err != nil {
				return err
			}
		}
		return nil
	}
	for _, dir := range []string{"tmp", "etc", "proc", "sys", "dev", "run", "var"} {
		if err := folder(dir); err != nil {
			return nil, err
		}
	}
	for _, f := range img.Files {
		if !path.IsAbs(f.Path) {
			return nil, fmt.Errorf("image: File.Path %q is not absolute", f.Path)
		}
		if err := folder(path.Dir(f.Path)); err != nil {
			return nil, err
		}
		name := strings.TrimPrefix(path.Clean(f.Path), "/")
		if f.Link != "" {
			if err := add(t, &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: f.Link, Mode: 0o777}, nil); err != nil {
				return nil, err
			}
			continue
		}
		body, err := os.ReadFile(f.Source)
		if err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		mode := f.Mode
		if mode == 0 {
			mode = 0o755
		}
		if err := add(t, &tar.Header{Name: name, Mode: mode, Size: int64(len(body))}, body); err != nil {
			return nil, err
		}
	}
	if err := t.Close(); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return buf.Bytes(), nil
}

// config makes the image's configuration, by the OCI image specification.
func (img Image) config(diffs []string) ([]byte, error) {
	arch := img.Architecture
	if arch == "" {
		arch = runtime.GOARCH
	}
	type runConfig struct {
		Env        []string
		Entrypoint []string `json:",omitempty"`
		Cmd        []string `json:",omitempty"`
		User       string   `json:",omitempty"`
	}
	b, err := json.Marshal(map[string]any{
		"architecture": arch,
		"os":           "linux",
		"created":      created,
		"config": runConfig{
			Env:        slices.Concat([]string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}, img.Env),
			Entrypoint: img.Entrypoint, Cmd: img.Cmd, User: img.User,
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": diffs},
		"history": slices.Repeat([]map[string]string{{"created": created, "created_by": "edgekit"}}, len(diffs)),
	})
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	return b, nil
}

func add(t *tar.Writer, h *tar.Header, body []byte) error {
	h.ModTime = time.Unix(0, 0)
	h.Format = tar.FormatUSTAR
	if err := t.WriteHeader(h); err != nil {
		return fmt.Errorf("image: %s: %w", h.Name, err)
	}
	if _, err := t.Write(body); err != nil {
		return fmt.Errorf("image: %s: %w", h.Name, err)
	}
	return nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
