package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"time"
)

const (
	// DefaultMax bounds a Source that sets no Max, in bytes.
	DefaultMax = 1 << 20
	// MaxTotal bounds all sources of a bundle together, in bytes before compression.
	MaxTotal = 32 << 20
	// sourceTime bounds the reading of one source.
	sourceTime = 20 * time.Second
)

// Source is one file of a bundle.
type Source struct {
	Name string // the file's name in the archive
	From string // where it comes from, for the list that people read first
	Max  int    // bytes that are kept; 0 means DefaultMax
	Tail bool   // keep the end of what is longer, not the beginning
	// Open opens what is copied. It must not return what may hold secrets: see the package's
	// comment.
	Open func(ctx context.Context) (io.ReadCloser, error)
	// Scrub replaces what looks like a secret.
	Scrub bool
}

// Entry is a file of a bundle, as the manifest has it.
type Entry struct {
	Name      string `json:"name"`
	From      string `json:"from"`
	Bytes     int    `json:"bytes"`
	Truncated bool   `json:"truncated,omitempty"`
	Error     string `json:"error,omitempty"` // why it is missing
}

// Manifest is manifest.json of a bundle, its first file.
type Manifest struct {
	Kind    string    `json:"kind"` // DebugBundle
	Node    string    `json:"node"`
	Time    time.Time `json:"time"`
	Version string    `json:"version"` // of edgectl
	Entries []Entry   `json:"entries"`
}

// Write reads the sources in their order and writes the archive, a tar file compressed by gzip, to
// w. Memory holds at most MaxTotal. It fails only if w does, or if ctx ends.
func Write(ctx context.Context, w io.Writer, m Manifest, sources []Source) (Manifest, error) {
	m.Kind = "DebugBundle"
	texts, left := make([][]byte, len(sources)), MaxTotal
	for i, s := range sources {
		entry := Entry{Name: s.Name, From: s.From}
		if s.Max == 0 {
			s.Max = DefaultMax
		}
		s.Max = min(s.Max, left)
		text, truncated, err := read(ctx, s)
		if ctx.Err() != nil {
			return m, ctx.Err()
		}
		if err != nil {
			entry.Error = string(Scrub([]byte(err.Error())))
		}
		texts[i], entry.Bytes, entry.Truncated = text, len(text), truncated
		left -= len(text)
		m.Entries = append(m.Entries, entry)
	}
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err == nil {
		err = add(archive, m, "manifest.json", append(manifest, '\n'))
	}
	for i, s := range sources {
		if err == nil && len(texts[i]) > 0 {
			err = add(archive, m, s.Name, texts[i])
		}
	}
	if err == nil {
		err = archive.Close()
	}
	if err == nil {
		err = zip.Close()
	}
	if err != nil {
		return m, fmt.Errorf("bundle: %w", err)
	}
	return m, nil
}

func add(archive *tar.Writer, m Manifest, name string, text []byte) error {
	err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path.Join("edgekit-"+path.Base(m.Node), name), Mode: 0o600, Size: int64(len(text)), ModTime: m.Time, Format: tar.FormatPAX})
	if err == nil {
		_, err = archive.Write(text)
	}
	return err
}

// read reads a source within its bounds. What was read before an error is kept.
func read(ctx context.Context, s Source) (text []byte, truncated bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, sourceTime)
	defer cancel()
	in, err := s.Open(ctx)
	if err != nil {
		return nil, false, err
	}
	defer in.Close()
	if s.Tail {
		text, truncated, err = tail(in, s.Max)
	} else {
		text, err = io.ReadAll(io.LimitReader(in, int64(s.Max)+1))
		if truncated = len(text) > s.Max; truncated {
			text = text[:s.Max]
		}
	}
	if s.Scrub {
		text = Scrub(text)
	}
	return text, truncated, err
}

// tail keeps the last most bytes, from the beginning of a line.
func tail(in io.Reader, most int) (text []byte, truncated bool, err error) {
	buffer := make([]byte, 32<<10)
	for {
		n, readErr := in.Read(buffer)
		text = append(text, buffer[:n]...)
		if len(text) > 2*most+len(buffer) {
			text, truncated = append(text[:0], text[len(text)-most:]...), true
		}
		if readErr != nil {
			if !errors.Is(readErr, io.EOF) {
				err = readErr
			}
			break
		}
	}
	if len(text) > most {
		text, truncated = text[len(text)-most:], true
	}
	if i := bytes.IndexByte(text, '\n'); truncated && i >= 0 {
		text = text[i+1:]
	}
	return text, truncated, err
}

// Bytes is what a Source of known text opens.
func Bytes(text []byte, err error) (io.ReadCloser, error) {
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(text)), nil
}
