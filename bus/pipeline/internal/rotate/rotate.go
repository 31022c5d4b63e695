// Package rotate has the files of sinks: below one folder whatever links lie there, with rotated
// ones beside them that have a time before their extension, of which so many are kept.
package rotate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Rule says when a new file begins.
type Rule struct {
	Size int64         // bytes of a file
	Age  time.Duration // of its first event; 0 means any
	Keep int           // rotated files
}

// Defaults of a Rule.
const (
	defaultSize = 64 << 20
	minSize     = 4 << 10
	defaultKeep = 5
)

// ParseRule reads the spec of a file; an error names the field and the remedy.
func ParseRule(spec *v1alpha1.FileSink) (Rule, error) {
	r := Rule{Size: defaultSize, Keep: defaultKeep}
	if s := spec.Rotate; s != nil {
		if s.Size != nil {
			r.Size = s.Size.Value()
		}
		if s.Age != nil {
			r.Age = s.Age.Duration
		}
		if s.Keep > 0 {
			r.Keep = int(s.Keep)
		}
	}
	switch {
	case r.Size < minSize:
		return r, fmt.Errorf("file.rotate.size is %d bytes: use 4Ki or more", r.Size)
	case r.Age < 0 || r.Age > 0 && r.Age < time.Second:
		return r, fmt.Errorf("file.rotate.age is %s: use 1s or more", r.Age)
	}
	return r, nil
}

// Folder is the folder for files. It is opened with the first use, and closed by Close.
type Folder struct {
	path string
	root *os.Root
}

// NewFolder checks the path of a file below the folder of the program. It does no I/O.
func NewFolder(folder, file string) (*Folder, error) {
	if folder == "" {
		return nil, errors.New("file: this program allows no files: it has no folder for them")
	}
	if !filepath.IsLocal(file) || strings.ContainsAny(file, "\x00\n") || strings.HasSuffix(file, "/") || path.Clean(file) == "." {
		return nil, fmt.Errorf("file.path is %.100q: use a relative path of a file, without ..", file)
	}
	return &Folder{path: folder}, nil
}

// Root opens the folder, which is made if it is not there. Nothing that is opened with it is
// outside of the folder.
func (f *Folder) Root() (*os.Root, error) {
	if f.root != nil {
		return f.root, nil
	}
	if err := os.MkdirAll(f.path, 0o750); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(f.path)
	if err != nil {
		return nil, err
	}
	f.root = root
	return root, nil
}

// Close closes the folder; the next Root opens it again.
func (f *Folder) Close() error {
	if f.root == nil {
		return nil
	}
	err := f.root.Close()
	f.root = nil
	return err
}

// timeFormat is in UTC, so that names sort by time.
const timeFormat = "20060102T150405.000000000Z"

// Name is the name of a file that was rotated at a time: a/b.log is a/b.TIME.log.
func Name(file string, at time.Time) string {
	ext := path.Ext(file)
	return strings.TrimSuffix(file, ext) + "." + at.UTC().Format(timeFormat) + ext
}

// Time reads the time out of a name that Name has made.
func Time(file, rotated string) (time.Time, bool) {
	ext := path.Ext(file)
	rest, ok1 := strings.CutPrefix(rotated, strings.TrimSuffix(file, ext)+".")
	stamp, ok2 := strings.CutSuffix(rest, ext)
	at, err := time.Parse(timeFormat, stamp)
	return at, ok1 && ok2 && err == nil
}

// Rotated lists the rotated files of a file, oldest first.
func Rotated(root *os.Root, file string) ([]string, error) {
	dir, base := path.Split(filepath.ToSlash(file))
	if dir = path.Clean(dir); dir == "" {
		dir = "."
	}
	entries, err := fs.ReadDir(root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if _, ok := Time(base, e.Name()); ok && e.Type().IsRegular() {
			out = append(out, path.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// Away gives a file the name of a rotated one, and removes those that are too many.
func Away(root *os.Root, file string, now time.Time, keep int) error {
	name := Name(file, now)
	for { // two within the resolution of a clock
		if _, err := root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
			break
		} else if err != nil {
			return err
		}
		now = now.Add(time.Nanosecond)
		name = Name(file, now)
	}
	if err := root.Rename(file, name); err != nil {
		return err
	}
	return Prune(root, file, keep)
}

// Prune removes the oldest rotated files until keep are left.
func Prune(root *os.Root, file string, keep int) error {
	all, err := Rotated(root, file)
	if err != nil {
		return err
	}
	for len(all) > keep {
		if err := root.Remove(all[0]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		all = all[1:]
	}
	return nil
}
