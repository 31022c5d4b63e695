package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// Entry is a file or folder of an archive. It belongs to root.
type Entry struct {
	Name   string // ends in / for a folder
	Mode   int64
	Body   []byte // the content, unless there is a Source
	Source string // the file to read the content from
}

// Write writes an archive of the entries, in their order, to w. All have the time mtime.
func Write(w io.Writer, mtime time.Time, entries ...Entry) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		if err := e.write(t, mtime); err != nil {
			return fmt.Errorf("archive: %s: %w", e.Name, err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

func (e Entry) write(t *tar.Writer, mtime time.Time) error {
	// PAX for names or sizes that the older form has no room for.
	h := &tar.Header{Name: e.Name, Mode: e.Mode, ModTime: mtime, Typeflag: tar.TypeReg, Size: int64(len(e.Body))}
	var body io.Reader = bytes.NewReader(e.Body)
	switch {
	case e.Name[len(e.Name)-1] == '/':
		h.Typeflag, h.Size = tar.TypeDir, 0
	case e.Source != "":
		f, err := os.Open(e.Source)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		h.Size, body = info.Size(), f
	}
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.Copy(t, body)
	return err
}

// Bytes returns an archive of the entries.
func Bytes(mtime time.Time, entries ...Entry) ([]byte, error) {
	var buf bytes.Buffer
	err := Write(&buf, mtime, entries...)
	return buf.Bytes(), err
}

// File writes an archive of the entries to a file, compressed if the name ends in gz.
func File(name string, mtime time.Time, entries ...Entry) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	if filepath.Ext(name) == ".gz" {
		z := gzip.NewWriter(f)
		err = errors.Join(Write(z, mtime, entries...), z.Close())
	} else {
		err = Write(f, mtime, entries...)
	}
	return errors.Join(err, f.Close())
}

// Folder lists the files and folders in a folder, in the order of their names, with the
// modes 0644 and 0755. Only regular files and folders that are not empty count; skip leaves out others.
func Folder(dir string, skip func(name string) bool) ([]Entry, error) {
	var entries []Entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || skip != nil && skip(name) {
			return err
		}
		if !d.IsDir() {
			if d.Type().IsRegular() {
				entries = append(entries, Entry{Name: filepath.ToSlash(name), Mode: 0o644, Source: path})
			}
			return nil
		}
		inside, err := os.ReadDir(path)
		if len(inside) > 0 {
			entries = append(entries, Entry{Name: filepath.ToSlash(name) + "/", Mode: 0o755})
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return entries, nil
}
