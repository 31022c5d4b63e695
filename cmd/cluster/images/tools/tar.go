package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// tarCommand does what kubectl cp asks of tar: "cf - PATH" to read, and
// "-xmf - -C DIR" to write. Only folders and plain files are carried.
func tarCommand(args []string, in io.Reader, out io.Writer) error {
	mode, dir := "", "."
	var paths []string
	for i := 0; i < len(args); i++ {
		switch a := args[i]; {
		case strings.HasPrefix(a, "--"): // owners and rights are not kept
		case a == "-C" && i+1 < len(args):
			i++
			dir = args[i]
		case mode == "":
			mode = strings.TrimPrefix(a, "-")
		case a != "-":
			paths = append(paths, a)
		}
	}
	switch {
	case strings.HasPrefix(mode, "x"):
		return unpack(in, dir)
	case strings.HasPrefix(mode, "c") && len(paths) > 0:
		return pack(out, paths)
	}
	return errors.New("usage: tar cf - PATH | tar xmf - -C DIR")
}

func pack(out io.Writer, paths []string) error {
	w := tar.NewWriter(out)
	for _, p := range paths {
		if err := filepath.WalkDir(p, func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			return add(w, name, e)
		}); err != nil {
			return err
		}
	}
	return w.Close()
}

func add(w *tar.Writer, name string, e fs.DirEntry) error {
	info, err := e.Info()
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return err
	}
	h, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	h.Name = strings.TrimPrefix(name, "/")
	if err := w.WriteHeader(h); err != nil || info.IsDir() {
		return err
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, f)
	return err
}

func unpack(in io.Reader, dir string) error {
	r := tar.NewReader(in)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(h.Name) {
			return fmt.Errorf("tar: %s leads out of the folder", h.Name)
		}
		name := path.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.MkdirAll(name, 0o755); err != nil {
				return err
			}
			continue
		}
		if err := store(name, r); err != nil {
			return err
		}
	}
}

func store(name string, in io.Reader) error {
	if err := os.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, in); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}
