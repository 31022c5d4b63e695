package volume

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names inside a volume. Kubernetes promises "..data" to those who watch it.
const (
	dataLink = "..data"
	tempLink = "..data_tmp"
)

// writeAtomic makes the files the content of dir. Files live in a folder of
// their own, which ..data points to; each name in dir is a link through it, so
// that one rename changes all of them. A crash at any point leaves the old or
// the new content, and leftovers that the next call removes.
func writeAtomic(dir string, files map[string]file, group *int64) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	current, _ := root.Readlink(dataLink) // no link: nothing was written yet
	if current != "" && same(root, current, files, group) {
		return link(root, files)
	}
	fresh, err := os.MkdirTemp(dir, "..")
	if err != nil {
		return err
	}
	if err := fill(fresh, files, group); err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	if err := root.Remove(tempLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Symlink(filepath.Base(fresh), tempLink); err != nil {
		return err
	}
	if err := root.Rename(tempLink, dataLink); err != nil {
		return err
	}
	return link(root, files)
}

// fill writes the files into a new folder.
func fill(dir string, files map[string]file, group *int64) error {
	if err := own(dir, 0o755|fs.ModeDir, nil, group); err != nil {
		return err
	}
	for name, f := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		for parent := range parents(name) {
			p := filepath.Join(dir, parent)
			if err := os.Mkdir(p, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
			if err := own(p, 0o755|fs.ModeDir, nil, group); err != nil {
				return err
			}
		}
		if err := os.WriteFile(full, f.data, 0o600); err != nil {
			return err
		}
		if err := own(full, fs.FileMode(f.mode), f.user, group); err != nil {
			return err
		}
	}
	return nil
}

// parents yields the folders above a file, outermost first.
func parents(name string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i, c := range name {
			if c == '/' && !yield(name[:i]) {
				return
			}
		}
	}
}

// own gives a path its mode and owner. With a group, the group may read what
// there is and enter folders, and new files belong to it.
func own(path string, mode fs.FileMode, user, group *int64) error {
	uid, gid := -1, -1
	if user != nil {
		uid = int(*user)
	}
	if group != nil {
		gid = int(*group)
	}
	if uid >= 0 || gid >= 0 {
		if err := os.Chown(path, uid, gid); err != nil {
			return err
		}
	}
	return os.Chmod(path, modeFor(mode, group))
}

func modeFor(mode fs.FileMode, group *int64) fs.FileMode {
	if group == nil {
		return mode.Perm()
	}
	if mode.IsDir() {
		return mode.Perm() | 0o550 | fs.ModeSetgid
	}
	return mode.Perm() | 0o440
}

// same reports whether the folder holds just the files.
func same(root *os.Root, dir string, files map[string]file, group *int64) bool {
	found := 0
	err := fs.WalkDir(root.FS(), dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		want, ok := files[strings.TrimPrefix(p, dir+"/")]
		if !ok {
			return fs.ErrInvalid
		}
		info, err := d.Info()
		if err != nil || info.Mode().Perm() != modeFor(fs.FileMode(want.mode), group).Perm() {
			return fs.ErrInvalid
		}
		data, err := root.ReadFile(p)
		if err != nil || !bytes.Equal(data, want.data) {
			return fs.ErrInvalid
		}
		found++
		return nil
	})
	return err == nil && found == len(files)
}

// link makes a link for each first part of a name, and removes what is
// neither such a link nor the current content.
func link(root *os.Root, files map[string]file) error {
	want := map[string]bool{dataLink: true}
	current, err := root.Readlink(dataLink)
	if err != nil {
		return err
	}
	want[current] = true
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		if want[first] {
			continue
		}
		want[first] = true
		target := dataLink + "/" + first
		if now, err := root.Readlink(first); err == nil && now == target {
			continue
		}
		if err := root.RemoveAll(first); err != nil {
			return err
		}
		if err := root.Symlink(target, first); err != nil {
			return err
		}
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !want[e.Name()] {
			if err := root.RemoveAll(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}
