package crilog

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/edgekit/edgekit/edged/internal/regular"
)

// The names of rotated log files are the kubelet's: the name of the file that the
// container writes to, the time of the rotation, and ".gz" once it is compressed.
const (
	rotatedFormat  = "20060102-150405" // in UTC, so that names sort by time
	CompressedName = ".gz"             // what ends the name of a compressed file
	TemporaryName  = ".tmp"            // what ends the name of a file that is being compressed
)

// RotatedName is the name of a log file after its rotation at that time.
func RotatedName(file string, at time.Time) string {
	return file + "." + at.UTC().Format(rotatedFormat)
}

// RotatedAt reads the time of the rotation out of the name of a file that was
// rotated away from the log file; rest is what follows, for example ".gz". It is
// false for any other name.
func RotatedAt(file, name string) (at time.Time, rest string, ok bool) {
	tail, ok := strings.CutPrefix(name, file+".")
	if !ok || len(tail) < len(rotatedFormat) {
		return time.Time{}, "", false
	}
	at, err := time.Parse(rotatedFormat, tail[:len(rotatedFormat)])
	return at, tail[len(rotatedFormat):], err == nil
}

// rotated lists the files that were rotated away from a log file and are not
// compressed, oldest first.
func rotated(path string) ([]string, error) {
	dir, file := filepath.Split(path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if _, rest, ok := RotatedAt(file, e.Name()); ok && rest == "" {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(out)
	return out, nil
}

// open opens a log file. In the moment of a rotation in which there is no file of
// that name, the newest rotated one is what the container writes to.
func open(path string) (*os.File, error) {
	f, err := regular.Open(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	older, listErr := rotated(path)
	if listErr != nil || len(older) == 0 {
		return nil, err
	}
	if f, newestErr := regular.Open(older[len(older)-1]); newestErr == nil {
		return f, nil
	}
	return regular.Open(path) // the rotation went on meanwhile
}

// successor opens the file that comes after f in the log, if there is one that
// something was written to: until then the container may still write to f. Of
// several rotations it is the first one after f that is not compressed.
func successor(path string, f *os.File) (*os.File, error) {
	now, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // between the two steps of a rotation, or removed
	}
	if err != nil {
		return nil, err
	}
	old, err := f.Stat()
	if err != nil || os.SameFile(now, old) {
		return nil, err
	}
	next := path
	older, err := rotated(path)
	if err != nil {
		return nil, err
	}
	// Where f is no longer among them, all that are left are newer.
	at := 1 + slices.IndexFunc(older, func(name string) bool {
		info, err := os.Lstat(name)
		return err == nil && os.SameFile(info, old)
	})
	if at < len(older) {
		next = older[at]
	} else if now.Size() == 0 && now.Mode().IsRegular() {
		return nil, nil
	}
	file, err := regular.Open(next)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it was compressed or rotated meanwhile: the next look finds its successor
	}
	return file, err
}
